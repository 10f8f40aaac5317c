// SPDX-License-Identifier: Apache-2.0
// AssemblyScript: prints its arguments, works out a number of 64 bits, adds up vectors with an operator of a class.
class Vector {
  constructor(public x: i32, public y: i32) {}

  @operator("+")
  plus(other: Vector): Vector {
    return new Vector(this.x + other.x, this.y + other.y);
  }

  toString(): string {
    return `(${this.x}, ${this.y})`;
  }
}

function fibonacci(n: i32): u64 {
  let a: u64 = 0;
  let b: u64 = 1;
  for (let i = 0; i < n; i++) {
    const sum = a + b;
    a = b;
    b = sum;
  }
  return a;
}

const words = process.argv.slice(1);
for (let i = 0; i < words.length; i++) {
  console.log(`argument ${i + 1}: ${words[i]}`);
}
console.log(`fibonacci(90) = ${fibonacci(90)}`);

const letters = new Map<string, Vector>();
for (let i = 0; i < words.length; i++) {
  const step = new Vector(1, words[i].length);
  letters.set(words[i], letters.has(words[i]) ? letters.get(words[i]) + step : step);
}
const keys = letters.keys().sort();
for (let i = 0; i < keys.length; i++) {
  console.log(`${keys[i]}: times and letters ${letters.get(keys[i])}`);
}
process.stdout.write("end of AssemblyScript");
process.exit(7);
