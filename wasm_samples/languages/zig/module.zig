// A module for a test: build it with ./build. It prints its arguments and ends with their number.
//
// Write with writerStreaming: a writer with positions, File.writer, fails on the serial line.
const std = @import("std");

pub fn main(init: std.process.Init) !u8 {
    var buffer: [256]u8 = undefined;
    var writer = std.Io.File.stdout().writerStreaming(init.io, &buffer);
    const out = &writer.interface;
    const arguments = try init.minimal.args.toSlice(init.arena.allocator());
    for (arguments[1..], 1..) |argument, number| {
        try out.print("argument {d}: {s}\n", .{ number, argument });
    }
    try out.flush();
    return @intCast(arguments.len - 1);
}
