// A module for a test: build it with ./build. It prints its arguments and ends with their number.
const words = process.argv.slice(1);
for (let i = 0; i < words.length; i++) {
  console.log(`argument ${i + 1}: ${words[i]}`);
}
process.exit(words.length);
