// A module for a test: build it with ./build. It prints its arguments and ends with their number.
//
// Debian 13's Embedded Swift has no String: texts are literals and C strings. wasi-libc can be called: exit, fputs,
// clock_gettime and so on.
for index in arguments.indices {
    print("argument ", terminator: "")
    print(index + 1, terminator: ": ")
    print(arguments[index])
}
exit(Int32(arguments.count))
