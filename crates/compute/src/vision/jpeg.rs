//! Baseline JPEG of grey images, as flow images are kept: 8 x 8 cosine transform, the standard's luminance tables for
//! quantisation and Huffman codes (ITU-T T.81, annex K), quality as in libjpeg.

use super::image::Image;
use std::f32::consts::PI;

/// The standard's quantisation of luminance, row by row.
const QUANTISATION: [u16; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];

/// Codes of each length from 1 to 16, and their symbols in order, for constant components.
const DC_LENGTHS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_SYMBOLS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// The same for all others: a symbol is a run of zeros (high half) and the bits of what follows (low half).
const AC_LENGTHS: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D];
const AC_SYMBOLS: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71, 0x14,
    0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09,
    0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A,
    0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65,
    0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88,
    0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9,
    0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA,
    0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA,
    0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
];

/// Where the k-th number of the zigzag lies in a block.
fn zigzag() -> [usize; 64] {
    let mut order = [0; 64];
    let (mut x, mut y) = (0usize, 0usize);
    for place in &mut order {
        *place = y * 8 + x;
        let up = (x + y) % 2 == 0;
        match (up, x, y) {
            (true, 7, _) => y += 1,
            (true, _, 0) => x += 1,
            (true, ..) => (x, y) = (x + 1, y - 1),
            (false, _, 7) => x += 1,
            (false, 0, _) => y += 1,
            (false, ..) => (x, y) = (x - 1, y + 1),
        }
    }
    order
}

/// By symbol its code and the code's length.
fn codes(lengths: &[u8; 16], symbols: &[u8]) -> [(u16, u8); 256] {
    let mut codes = [(0, 0); 256];
    let (mut code, mut symbols) = (0u32, symbols.iter());
    for (length, &count) in (1u8..).zip(lengths) {
        for &symbol in symbols.by_ref().take(usize::from(count)) {
            codes[usize::from(symbol)] = (code as u16, length);
            code += 1;
        }
        code <<= 1;
    }
    codes
}

/// Bits into bytes; a byte of ones is followed by one of zeros.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    held: u32,
    count: u8,
}

impl Bits {
    fn push(&mut self, bits: u16, length: u8) {
        for i in (0..length).rev() {
            self.held = self.held << 1 | u32::from(bits >> i & 1);
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.held as u8);
                if self.held as u8 == 0xFF {
                    self.bytes.push(0);
                }
                (self.held, self.count) = (0, 0);
            }
        }
    }

    /// A number as JPEG has it: its length's symbol comes before, negative ones less one.
    fn push_number(&mut self, value: i32, length: u8) {
        let bits = if value < 0 { value - 1 } else { value };
        self.push((bits & ((1i32 << length) - 1)) as u16, length);
    }
}

fn length(value: i32) -> u8 {
    (32 - value.unsigned_abs().leading_zeros()) as u8
}

/// A grey image as a JPEG file of quality 1 to 100.
pub fn encode(image: &Image, quality: u16) -> Vec<u8> {
    let quality = quality.clamp(1, 100);
    let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    let table = QUANTISATION.map(|q| ((u32::from(q) * u32::from(scale) + 50) / 100).clamp(1, 255) as u8);
    let order = zigzag();
    let mut out = vec![0xFF, 0xD8];
    let mut segment = |marker: u8, contents: &[u8]| {
        out.extend([0xFF, marker]);
        out.extend((contents.len() as u16 + 2).to_be_bytes());
        out.extend(contents);
    };
    segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    segment(0xDB, &[&[0][..], &order.map(|i| table[i])].concat());
    let [h, w] = [image.height as u16, image.width as u16].map(u16::to_be_bytes);
    segment(0xC0, &[8, h[0], h[1], w[0], w[1], 1, 1, 0x11, 0]);
    segment(0xC4, &[&[0][..], &DC_LENGTHS, &DC_SYMBOLS].concat());
    segment(0xC4, &[&[0x10][..], &AC_LENGTHS, &AC_SYMBOLS].concat());
    segment(0xDA, &[1, 1, 0, 0, 63, 0]);
    let (dc, ac) = (codes(&DC_LENGTHS, &DC_SYMBOLS), codes(&AC_LENGTHS, &AC_SYMBOLS));
    // cosines[k][n] = c_k / 2 cos((2 n + 1) k pi / 16), c_0 = 1 / sqrt 2
    let cosines: [[f32; 8]; 8] = std::array::from_fn(|k| {
        let norm = if k == 0 { 0.5f32.sqrt() } else { 1.0 };
        std::array::from_fn(|n| norm / 2.0 * ((2 * n + 1) as f32 * k as f32 * PI / 16.0).cos())
    });
    let mut bits = Bits::default();
    let mut before = 0;
    for top in (0..image.height).step_by(8) {
        for left in (0..image.width).step_by(8) {
            let block = transform(image, left, top, &cosines);
            let level = |k: usize| (block[order[k]] / f32::from(table[order[k]])).round() as i32;
            let constant = level(0);
            let n = length(constant - before);
            let (code, size) = dc[usize::from(n)];
            bits.push(code, size);
            bits.push_number(constant - before, n);
            before = constant;
            let mut zeros = 0u8;
            for value in (1..64).map(level) {
                if value == 0 {
                    zeros += 1;
                    continue;
                }
                while zeros > 15 {
                    bits.push(ac[0xF0].0, ac[0xF0].1);
                    zeros -= 16;
                }
                let n = length(value);
                let (code, size) = ac[usize::from(zeros << 4 | n)];
                bits.push(code, size);
                bits.push_number(value, n);
                zeros = 0;
            }
            if zeros > 0 {
                bits.push(ac[0].0, ac[0].1);
            }
        }
    }
    // What is left of a byte is filled with ones.
    bits.push(0x7F, 7);
    out.extend(bits.bytes);
    out.extend([0xFF, 0xD9]);
    out
}

/// The cosine transform of a block; beyond the image its last pixels are repeated.
fn transform(image: &Image, left: usize, top: usize, cosines: &[[f32; 8]; 8]) -> [f32; 64] {
    let pixel = |x: usize, y: usize| {
        let (x, y) = ((left + x).min(image.width - 1), (top + y).min(image.height - 1));
        f32::from(image.data[y * image.width + x]) - 128.0
    };
    let mut rows = [0.0; 64];
    for y in 0..8 {
        let row: [f32; 8] = std::array::from_fn(|x| pixel(x, y));
        for (k, cosines) in cosines.iter().enumerate() {
            rows[y * 8 + k] = row.iter().zip(cosines).map(|(p, c)| p * c).sum();
        }
    }
    std::array::from_fn(|i| {
        let (k, x) = (i / 8, i % 8);
        (0..8).map(|y| rows[y * 8 + x] * cosines[k][y]).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zigzag_starts_and_ends_as_in_the_standard() {
        let order = zigzag();
        assert_eq!(order[..10], [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]);
        assert_eq!(order[60..], [47, 55, 62, 63]);
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, std::array::from_fn(|i| i));
    }

    #[test]
    fn codes_are_the_standards() {
        let dc = codes(&DC_LENGTHS, &DC_SYMBOLS);
        assert_eq!((dc[0], dc[1], dc[11]), ((0b00, 2), (0b010, 3), (0b1_1111_1110, 9)));
        let ac = codes(&AC_LENGTHS, &AC_SYMBOLS);
        assert_eq!((ac[0], ac[1], ac[0xF0]), ((0b1010, 4), (0b00, 2), (0b111_1111_1001, 11)));
    }

    #[test]
    fn numbers_are_written_as_in_the_standard() {
        assert_eq!((length(0), length(1), length(-1), length(-7), length(1023)), (0, 1, 1, 3, 10));
        let mut bits = Bits::default();
        bits.push_number(-3, 2);
        bits.push_number(5, 3);
        bits.push(0b111, 3);
        assert_eq!(bits.bytes, [0b0010_1111]);
    }
}
