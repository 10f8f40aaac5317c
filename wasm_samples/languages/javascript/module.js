// A module for a test: build it with ./build. It prints its arguments and ends with their number.
//
// The comment at the beginning of ./build lists what a script has beside the language.
const [, ...args] = scriptArgs;
args.forEach((argument, index) => print(`argument ${index + 1}: ${argument}`));
std.exit(args.length);
