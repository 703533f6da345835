//! A map that stages take over from each other without a copy.
//!
//! What was written before [`Layered::share`] lies in layers that all copies have in common; what is
//! written afterwards lies in a layer of one's own. Each shared layer is at least twice as large as
//! the one above it, so that there are few, and a chain of stages that each add a little costs no
//! more than the logarithm of what a single stage with all of it would cost.

use std::sync::Arc;

use indexmap::IndexMap;

/// Values by name, in an order. Cheap to clone after [`Layered::share`].
#[derive(Clone, Debug)]
pub(crate) struct Layered<V> {
    /// The oldest and largest first. Names may be in several; the newest counts.
    shared: Vec<Arc<Layer<V>>>,
    own: Layer<V>,
    /// The place of the next name.
    next: usize,
}

type Layer<V> = IndexMap<Arc<str>, Placed<V>>;

/// A value and where it stands among the others.
#[derive(Clone, Debug)]
struct Placed<V> {
    place: usize,
    value: V,
}

impl<V> Default for Layered<V> {
    fn default() -> Self {
        Self { shared: Vec::new(), own: IndexMap::new(), next: 0 }
    }
}

impl<V> Layered<V> {
    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.find(name).map(|placed| &placed.value)
    }

    /// Whether there is such a name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }

    /// Sets a value: in its place if the name is there, else at the end.
    pub(crate) fn insert(&mut self, name: &str, value: V) {
        let place = self.find(name).map(|placed| placed.place);
        self.put(name, place, value);
    }

    /// Sets a value and moves it to the end.
    pub(crate) fn push(&mut self, name: &str, value: V) {
        self.put(name, None, value);
    }

    /// All names and values, in order.
    pub(crate) fn in_order(&self) -> Vec<(&str, &V)> {
        let mut all: Vec<(&str, &Placed<V>)> = Vec::with_capacity(self.own.len());
        all.extend(self.own.iter().map(|(name, placed)| (&**name, placed)));
        for (depth, layer) in self.shared.iter().enumerate().rev() {
            let newer = self.shared.get(depth + 1..).unwrap_or_default();
            let hidden = |name: &str| {
                self.own.contains_key(name) || newer.iter().any(|newer| newer.contains_key(name))
            };
            let shown = layer.iter().filter(|(name, _)| !hidden(name));
            all.extend(shown.map(|(name, placed)| (&**name, placed)));
        }
        all.sort_by_key(|(_, placed)| placed.place);
        all.into_iter().map(|(name, placed)| (name, &placed.value)).collect()
    }

    fn find(&self, name: &str) -> Option<&Placed<V>> {
        let shared = || self.shared.iter().rev().find_map(|layer| layer.get(name));
        self.own.get(name).or_else(shared)
    }

    fn put(&mut self, name: &str, place: Option<usize>, value: V) {
        let place = place.unwrap_or(self.next);
        self.next = self.next.max(place + 1);
        match self.own.get_mut(name) {
            Some(placed) => *placed = Placed { place, value },
            None => drop(self.own.insert(name.into(), Placed { place, value })),
        }
    }
}

impl<V: Clone> Layered<V> {
    /// A copy that has everything in common with this one so far.
    pub(crate) fn share(&mut self) -> Self {
        if !self.own.is_empty() {
            self.shared.push(Arc::new(std::mem::take(&mut self.own)));
        }
        while let [.., below, top] = self.shared.as_slice()
            && top.len() * 2 > below.len()
        {
            let top = self.shared.pop().unwrap_or_default();
            if let Some(below) = self.shared.last_mut() {
                let newer = top.iter().map(|(name, placed)| (Arc::clone(name), placed.clone()));
                Arc::make_mut(below).extend(newer);
            }
        }
        self.clone()
    }

    /// Without a name. Costs a copy of all others, if any are shared.
    pub(crate) fn remove(&mut self, name: &str) {
        if !self.contains(name) {
            return;
        }
        let mut kept = Self::default();
        for (other, value) in self.in_order().into_iter().filter(|(other, _)| *other != name) {
            kept.push(other, value.clone());
        }
        *self = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(map: &Layered<u32>) -> String {
        let all = map.in_order().into_iter().map(|(name, value)| format!("{name}{value}"));
        all.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_stay_in_their_place_or_move_to_the_end() {
        let mut map = Layered::default();
        for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
            map.insert(name, n as u32);
        }
        let mut other = map.share();
        other.insert("a", 7);
        other.push("b", 8);
        other.insert("d", 9);
        assert_eq!((shown(&map), shown(&other)), ("a0 b1 c2".into(), "a7 c2 b8 d9".into()));
        other.remove("c");
        assert_eq!(shown(&other), "a7 b8 d9");
        assert_eq!((other.get("a"), other.get("c"), map.contains("d")), (Some(&7), None, false));
    }

    #[test]
    fn layers_are_few_however_often_a_map_is_shared() {
        let mut map = Layered::default();
        for n in 0..1000 {
            map.push(&format!("n{n}"), n);
            map = map.share();
        }
        assert!(map.shared.len() <= 11, "{} layers", map.shared.len());
        let all: Vec<u32> = map.in_order().into_iter().map(|(_, value)| *value).collect();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }
}
