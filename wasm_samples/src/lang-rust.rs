// SPDX-License-Identifier: Apache-2.0
//! Rust: prints its arguments, works out a number with checked arithmetic, counts words in a HashMap.
use std::collections::HashMap;
use std::fmt;
use std::process::exit;

#[derive(Debug)]
struct Overflow {
    at: u64,
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "overflow at {}", self.at)
    }
}

/// The factorial of `n`, if 64 bits hold it.
fn factorial(n: u64) -> Result<u64, Overflow> {
    (1..=n).try_fold(1u64, |product, at| product.checked_mul(at).ok_or(Overflow { at }))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for (number, argument) in arguments.iter().enumerate() {
        println!("argument {}: {argument}", number + 1);
    }
    for n in [20, 25] {
        match factorial(n) {
            Ok(product) => println!("{n}! = {product}"),
            Err(error) => println!("{n}!: {error}"),
        }
    }
    // its keys are hashed with random numbers, from WASI's random_get
    let mut count: HashMap<&str, usize> = HashMap::new();
    for argument in &arguments {
        *count.entry(argument).or_default() += 1;
    }
    let mut counted: Vec<_> = count.into_iter().collect();
    counted.sort();
    let text: Vec<String> = counted.iter().map(|(word, times)| format!("{word}:{times}")).collect();
    println!("counted: {}", text.join(" "));
    print!("end of Rust");
    exit(7);
}
