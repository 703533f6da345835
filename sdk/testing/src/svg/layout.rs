//! Where the boxes of a layered graph stand and how its lines run.
//!
//! Sizes and who reads whom come in, each node after what it reads; places and lines come out. Each
//! node stands one row below the lowest thing it reads, long lines get a bend in every row they
//! cross, neighbours in a row are ordered so that few lines cross, and each is then drawn towards
//! what it is connected with. No chance and no hash order is involved.

/// Space around the picture, between rows, and between neighbours in a row.
const MARGIN: f64 = 20.0;
const ROW_GAP: f64 = 44.0;
const GAP: f64 = 22.0;
/// How often the order and the places are improved.
const ORDER_ROUNDS: usize = 10;
const PLACE_ROUNDS: usize = 14;
/// Lines get no bends any more if there would be more of them than this.
const MAX_BENDS: usize = 40_000;

/// The size of a box in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How wide it is.
    pub width: f64,
    /// How high it is; all boxes of a graph are as high as the first.
    pub height: f64,
}

/// A line from a box to one that reads it, through all its bends.
#[derive(Clone, Debug)]
pub struct Line {
    /// The box that is read.
    pub from: usize,
    /// The box that reads it.
    pub to: usize,
    /// Where it leaves, bends and arrives.
    pub points: Vec<(f64, f64)>,
}

/// A picture without colours, in pixels.
#[derive(Clone, Debug)]
pub struct Layout {
    /// How wide it is, margins included.
    pub width: f64,
    /// How high it is, margins included.
    pub height: f64,
    /// The upper left corner of each box.
    pub places: Vec<(f64, f64)>,
    /// The lines between boxes.
    pub lines: Vec<Line>,
}

impl Layout {
    /// Lays out boxes of these sizes, of which each reads those whose indexes are listed.
    ///
    /// ```
    /// use kiln_testing::svg::{Layout, Size};
    ///
    /// let size = Size { width: 100.0, height: 40.0 };
    /// let layout = Layout::of(&[size, size], &[vec![], vec![0]]);
    /// assert!(layout.places[1].1 > layout.places[0].1);
    /// assert_eq!(layout.lines.len(), 1);
    /// ```
    ///
    /// # Panics
    ///
    /// If a box reads itself, one that comes later, or one that does not exist.
    pub fn of(sizes: &[Size], reads: &[Vec<usize>]) -> Self {
        let mut rows = Rows::of(sizes, reads);
        rows.order();
        rows.place();
        rows.finish(sizes, reads)
    }
}

/// Boxes and bends in rows.
struct Rows {
    /// The row of each node.
    row: Vec<usize>,
    /// The nodes of each row, from left to right. Those beyond the boxes are bends.
    rows: Vec<Vec<usize>>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    width: Vec<f64>,
    /// The middle of each node.
    middle: Vec<f64>,
    /// The bends of each line, by box and by its place in what the box reads.
    bends: Vec<Vec<Vec<usize>>>,
}

impl Rows {
    fn of(sizes: &[Size], reads: &[Vec<usize>]) -> Self {
        let row = rows_of(reads);
        let count = row.iter().max().map_or(0, |last| last + 1);
        let mut rows = Self {
            rows: vec![Vec::new(); count],
            above: vec![Vec::new(); sizes.len()],
            below: vec![Vec::new(); sizes.len()],
            width: sizes.iter().map(|size| size.width).collect(),
            middle: Vec::new(),
            bends: reads.iter().map(|reads| vec![Vec::new(); reads.len()]).collect(),
            row,
        };
        for (node, row) in rows.row.iter().enumerate() {
            rows.rows[*row].push(node);
        }
        let crossed = |to: usize, from: &usize| (rows.row[to] - rows.row[*from]).saturating_sub(1);
        let all: usize = reads
            .iter()
            .enumerate()
            .map(|(to, reads)| reads.iter().map(|from| crossed(to, from)).sum::<usize>())
            .sum();
        for (to, reads) in reads.iter().enumerate() {
            for (n, from) in reads.iter().enumerate() {
                rows.connect(*from, to, n, all <= MAX_BENDS);
            }
        }
        rows
    }

    fn connect(&mut self, from: usize, to: usize, n: usize, bend: bool) {
        let mut last = from;
        if bend {
            for row in self.row[from] + 1..self.row[to] {
                let node = self.row.len();
                self.row.push(row);
                self.rows[row].push(node);
                self.width.push(6.0);
                self.above.push(vec![last]);
                self.below.push(Vec::new());
                self.below[last].push(node);
                self.bends[to][n].push(node);
                last = node;
            }
        }
        self.below[last].push(to);
        self.above[to].push(last);
    }

    /// Orders each row by where its neighbours in the rows above and below stand.
    fn order(&mut self) {
        let mut at = vec![0.0; self.row.len()];
        let number = |rows: &[Vec<usize>], at: &mut [f64]| {
            for row in rows {
                let mut next = 0.0;
                for node in row {
                    at[*node] = next;
                    next += 1.0;
                }
            }
        };
        number(&self.rows, &mut at);
        let count = self.rows.len();
        for round in 0..ORDER_ROUNDS {
            let down = round % 2 == 0;
            for n in 0..count {
                let n = if down { n } else { count - 1 - n };
                let near = if down { &self.above } else { &self.below };
                let mut row = std::mem::take(&mut self.rows[n]);
                let mut wanted: Vec<(f64, usize)> = row
                    .iter()
                    .map(|node| (mean(&near[*node], &at).unwrap_or(at[*node]), *node))
                    .collect();
                wanted.sort_by(|(a, _), (b, _)| a.total_cmp(b));
                row.clear();
                row.extend(wanted.into_iter().map(|(_, node)| node));
                number(std::slice::from_ref(&row), &mut at);
                self.rows[n] = row;
            }
        }
    }

    /// Gives each node a place near what it is connected with, keeping the order of its row.
    fn place(&mut self) {
        self.middle = vec![0.0; self.row.len()];
        for row in 0..self.rows.len() {
            let wanted = vec![0.0; self.rows[row].len()];
            self.settle(row, &wanted);
        }
        for round in 0..PLACE_ROUNDS {
            for n in 0..self.rows.len() {
                let row = if round % 2 == 0 { n } else { self.rows.len() - 1 - n };
                let wanted = self.rows[row].iter().map(|node| {
                    let near = [&self.above[*node][..], &self.below[*node]].concat();
                    mean(&near, &self.middle).unwrap_or(self.middle[*node])
                });
                let wanted: Vec<f64> = wanted.collect();
                self.settle(row, &wanted);
            }
        }
    }

    /// The places nearest to the wanted ones that do not overlap: blocks that would are joined and
    /// stand where they are nearest on average.
    fn settle(&mut self, row: usize, wanted: &[f64]) {
        let nodes = &self.rows[row];
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(nodes.len());
        // Of each block: the sum of what its members want, their weight, and how many there are.
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            if n > 0 {
                offset += (self.width[nodes[n - 1]] + self.width[*node]) / 2.0 + GAP;
            }
            offsets.push(offset);
            // Bends weigh more, so that long lines are straight.
            let weight = if self.width[*node] < 10.0 { 2.0 } else { 1.0 };
            blocks.push(((wanted[n] - offset) * weight, weight, 1));
            while let [.., before, last] = blocks.as_slice()
                && before.0 / before.1 > last.0 / last.1
            {
                let joined = (before.0 + last.0, before.1 + last.1, before.2 + last.2);
                blocks.truncate(blocks.len() - 2);
                blocks.push(joined);
            }
        }
        let mut n = 0;
        for (sum, weight, count) in blocks {
            for _ in 0..count {
                self.middle[nodes[n]] = sum / weight + offsets[n];
                n += 1;
            }
        }
    }

    fn finish(self, sizes: &[Size], reads: &[Vec<usize>]) -> Layout {
        let edges = |side: f64| {
            let edge = move |(middle, width): (&f64, &f64)| middle + side * width / 2.0;
            self.middle.iter().zip(&self.width).map(edge)
        };
        let left = edges(-1.0).fold(f64::INFINITY, f64::min);
        let right = edges(1.0).fold(f64::NEG_INFINITY, f64::max);
        let shift = if left.is_finite() { MARGIN - left } else { 0.0 };
        let height = sizes.first().map_or(0.0, |size| size.height);
        let mut top = MARGIN;
        let mut tops = Vec::with_capacity(self.rows.len());
        for _ in &self.rows {
            tops.push(top);
            top += height + ROW_GAP;
        }
        let middle = |node: usize| self.middle[node] + shift;
        let places = sizes.iter().enumerate();
        let places = places.map(|(n, size)| (middle(n) - size.width / 2.0, tops[self.row[n]]));
        let mut lines = Vec::new();
        for (to, reads) in reads.iter().enumerate() {
            for (n, from) in reads.iter().enumerate() {
                let mut points = vec![(middle(*from), tops[self.row[*from]] + height)];
                for bend in &self.bends[to][n] {
                    let y = tops[self.row[*bend]];
                    points.extend([(middle(*bend), y), (middle(*bend), y + height)]);
                }
                // Lines arrive side by side instead of in one point.
                let spread = self.arrival(to, n, reads);
                points.push((middle(to) + spread, tops[self.row[to]]));
                lines.push(Line { from: *from, to, points });
            }
        }
        Layout {
            width: if left.is_finite() { right - left + 2.0 * MARGIN } else { 2.0 * MARGIN },
            height: (top - ROW_GAP + MARGIN).max(2.0 * MARGIN),
            places: places.collect(),
            lines,
        }
    }

    /// How far from the middle of a box its nth line arrives: in the order in which they come.
    fn arrival(&self, to: usize, n: usize, reads: &[usize]) -> f64 {
        let from = |n: usize| {
            let last = self.bends[to][n].last().copied().unwrap_or(reads[n]);
            (self.middle[last], n)
        };
        let own = from(n);
        let before = (0..reads.len()).filter(|other| from(*other) < own).count();
        // The numbers are small.
        let small = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        let step = (self.width[to] * 0.7 / small(reads.len())).min(34.0);
        (small(before) - (small(reads.len()) - 1.0) / 2.0) * step
    }
}

/// The row of each node: below everything it reads, and sources just above what reads them first.
fn rows_of(reads: &[Vec<usize>]) -> Vec<usize> {
    let mut row = vec![0; reads.len()];
    let mut first = vec![usize::MAX; reads.len()];
    for (node, reads) in reads.iter().enumerate() {
        row[node] = reads.iter().map(|from| row[*from] + 1).max().unwrap_or(0);
    }
    for (node, reads) in reads.iter().enumerate() {
        for from in reads {
            first[*from] = first[*from].min(row[node]);
        }
    }
    for node in 0..reads.len() {
        if reads[node].is_empty() && first[node] != usize::MAX {
            row[node] = first[node].saturating_sub(1);
        }
    }
    row
}

fn mean(nodes: &[usize], of: &[f64]) -> Option<f64> {
    if nodes.is_empty() {
        return None;
    }
    let count = f64::from(u32::try_from(nodes.len()).unwrap_or(u32::MAX));
    Some(nodes.iter().map(|node| of[*node]).sum::<f64>() / count)
}
