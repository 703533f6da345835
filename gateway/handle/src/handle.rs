//! The handles, which know the type of their value by its number alone.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Weak};

/// A shared value, like [`Arc`]. Clones are handles on the same value, which is dropped with the last.
///
/// Reading through it compares a number (that of the type), which no build can notice.
pub struct Handle<T> {
    value: Arc<dyn Any + Send + Sync>,
    // Owns no `T` as far as the compiler is asked: `new` has asked it.
    of: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> Handle<T> {
    /// The first handle on a value.
    pub fn new(value: T) -> Self {
        Self { value: Arc::new(value), of: PhantomData }
    }
}

impl<T> Handle<T> {
    /// What finds the value as long as somebody else has a handle.
    pub fn downgrade(&self) -> WeakHandle<T> {
        WeakHandle { value: Arc::downgrade(&self.value), of: PhantomData }
    }
}

impl<T: 'static> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.downcast_ref().expect("a handle is made with a value of its type")
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), of: PhantomData }
    }
}

impl<T: Default + Send + Sync + 'static> Default for Handle<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A [`Handle`] that keeps nothing alive.
pub struct WeakHandle<T> {
    value: Weak<dyn Any + Send + Sync>,
    of: PhantomData<fn() -> T>,
}

impl<T> WeakHandle<T> {
    /// A handle, if there still is one elsewhere.
    pub fn upgrade(&self) -> Option<Handle<T>> {
        Some(Handle { value: self.value.upgrade()?, of: PhantomData })
    }
}

impl<T> Clone for WeakHandle<T> {
    fn clone(&self) -> Self {
        Self { value: Weak::clone(&self.value), of: PhantomData }
    }
}

impl<T> fmt::Debug for WeakHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakHandle").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_share_a_value_until_the_last_is_dropped() {
        let first = Handle::new(std::sync::Mutex::new(1));
        let second = first.clone();
        *second.lock().unwrap() += 1;
        assert_eq!(*first.lock().unwrap(), 2);

        let weak = first.downgrade();
        drop(first);
        assert_eq!(*weak.upgrade().unwrap().lock().unwrap(), 2);
        drop(second);
        assert!(weak.upgrade().is_none());
    }
}
