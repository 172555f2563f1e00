// Spins in a call chain that it knows: modules, generics, a trait object, a closure. See stacks.c.

use std::hint::black_box;

mod inner {
    use std::hint::black_box;

    #[inline(never)]
    pub fn leaf(rounds: u64) -> u64 {
        // Calls nothing, even where nothing is inlined.
        let (mut sum, mut number) = (0_u64, 0);
        while number < rounds {
            sum = (sum << 5) ^ number;
            number += 1;
        }
        sum
    }

    pub trait Shape {
        fn area(&self, rounds: u64) -> u64;
    }

    pub struct Square(pub u64);

    impl Shape for Square {
        #[inline(never)]
        fn area(&self, rounds: u64) -> u64 {
            black_box(generic(rounds)) + self.0
        }
    }

    #[inline(never)]
    pub fn generic<T: Into<u64>>(rounds: T) -> u64 {
        black_box(leaf(rounds.into())) + 1
    }
}

#[inline(never)]
fn start(shape: &dyn inner::Shape) -> u64 {
    black_box(shape.area(u64::MAX)) + 1
}

fn main() {
    println!("frame chain::main");
    println!("frame chain::start");
    println!("frame <chain::inner::Square as chain::inner::Shape>::area");
    println!("frame chain::inner::generic");
    println!("frame chain::inner::leaf");
    println!("ready");
    black_box(start(black_box(&inner::Square(3))));
}
