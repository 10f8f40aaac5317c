// SPDX-License-Identifier: Apache-2.0

// JavaScript: prints its arguments, works out a number, awaits promises, counts words in a Map, catches an error.

class Meter {
  #total = 0;

  get total() {
    return this.#total;
  }

  add(number) {
    this.#total += number;
    return this;
  }
}

const later = (value, ms) => new Promise((resolve) => os.setTimeout(() => resolve(value), ms));

// The number of steps of Collatz's sequence from n to 1.
function steps(n) {
  let count = 0;
  for (; n !== 1; count++) n = n % 2 ? 3 * n + 1 : n / 2;
  return count;
}

scriptArgs.slice(1).forEach((argument, index) => print(`argument ${index + 1}: ${argument}`));
print("steps from 27 to 1:", steps(27));

const squares = await Promise.all([later(3, 2), later(1, 0), later(2, 1)].map(async (value) => (await value) ** 2));
print(JSON.stringify({ squares, sum: squares.reduce((meter, square) => meter.add(square), new Meter()).total }));

let factorial = 1n;
for (let i = 2n; i <= 30n; i++) factorial *= i;
print("30! =", factorial);

const words = new Map();
for (const [word] of "a rose is a rose is a rose".matchAll(/\w+/g)) words.set(word, (words.get(word) ?? 0) + 1);
print(JSON.stringify(Object.fromEntries(words)));

try {
  JSON.parse('{"broken": }');
} catch (error) {
  print(error.name);
}
std.out.puts("end of JavaScript");
std.exit(7);
