//! In: a kind and a size. Out: always the same bytes for both, as the program that
//! made `goldens.txt` with Go generated them too.

/// Marsaglia's xorshift with 64 bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 32) % end as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }
}

pub(crate) fn input(kind: &str, size: usize) -> Vec<u8> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ size as u64);
    match kind {
        "zeros" => vec![0; size],
        "random" => (0..size).map(|_| random.byte()).collect(),
        // Each byte is half as frequent as the one before: the deepest trees.
        "skewed" => (0..size).map(|_| random.next().leading_zeros() as u8).collect(),
        "text" => text(&mut random, size),
        "tar" => tar_like(&mut random, size),
        "copies" => copies(&mut random, size, [1, 40_000, 1000]),
        "edge" => edge(input("random", size)),
        // Matches around the far end of the window.
        "far" => copies(&mut random, size, [32_400, 400, 12]),
        _ => panic!("no such kind of input: {kind}"),
    }
}

fn text(random: &mut Random, size: usize) -> Vec<u8> {
    let word = |random: &mut Random| -> Vec<u8> {
        (0..2 + random.below(9)).map(|_| b'a' + random.below(26) as u8).collect()
    };
    let words: Vec<_> = (0..200).map(|_| word(random)).collect();
    let mut out = Vec::with_capacity(size + 16);
    while out.len() < size {
        out.extend(&words[random.below(200).min(random.below(200))]);
        out.push(if random.below(10) == 0 { b'\n' } else { b' ' });
    }
    out.truncate(size);
    out
}

/// Many small files with headers much like those of a tar stream.
fn tar_like(random: &mut Random, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 8192);
    for number in 0.. {
        if out.len() >= size {
            break;
        }
        let length = random.below(6000);
        out.extend(header(number, length));
        if random.below(4) == 0 {
            out.extend((0..length).map(|_| random.byte()));
        } else {
            out.extend(text(random, length));
        }
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.truncate(size);
    out
}

fn header(number: usize, length: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &format!("usr/share/part{}/file{number}.txt", number % 7));
    put(100, "0000644\x000000000\x000000000\x00");
    put(124, &format!("{length:011o}\x0014371573105\x00"));
    put(156, "0");
    put(257, "ustar\x0000root");
    header
}

/// A match right where Go may or may not have moved its window.
fn edge(mut bytes: Vec<u8>) -> Vec<u8> {
    for at in (65274..bytes.len().saturating_sub(7)).step_by(32768) {
        bytes.copy_within(at - 32600..at - 32592, at);
    }
    bytes
}

/// Random bytes and copies of what came before them.
fn copies(random: &mut Random, size: usize, [near, spread, longest]: [usize; 3]) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 2048);
    while out.len() < size {
        out.extend((0..random.below(20)).map(|_| random.byte()));
        let distance = near + random.below(spread);
        let length = 4 + random.below(longest);
        if distance > out.len() {
            out.push(random.byte());
            continue;
        }
        for _ in 0..length {
            out.push(out[out.len() - distance]);
        }
    }
    out.truncate(size);
    out
}
