// SPDX-License-Identifier: Apache-2.0
//! Zig: prints its arguments, works out a number while it is compiled, handles an error of a union.
const std = @import("std");

/// The prime numbers below `limit`, found at compile time.
fn primes(comptime limit: usize) []const u16 {
    comptime {
        @setEvalBranchQuota(100_000);
        var found: []const u16 = &.{};
        for (2..limit) |number| {
            for (found) |prime| {
                if (number % prime == 0) break;
            } else found = found ++ .{@as(u16, number)};
        }
        return found;
    }
}

const Found = union(enum) { number: i64, word: usize };

/// A number, or the length of a word.
fn parsed(text: []const u8) error{Empty}!Found {
    if (text.len == 0) return error.Empty;
    return if (std.fmt.parseInt(i64, text, 10)) |number| .{ .number = number } else |_| .{ .word = text.len };
}

pub fn main(init: std.process.Init) !u8 {
    var buffer: [256]u8 = undefined;
    var writer = std.Io.File.stdout().writerStreaming(init.io, &buffer);
    const out = &writer.interface;
    const arguments = try init.minimal.args.toSlice(init.arena.allocator());
    for (arguments[1..], 1..) |argument, number| {
        try out.print("argument {d}: {s}\n", .{ number, argument });
    }
    const table = comptime primes(1000);
    try out.print("{d} primes below 1000, the last is {d}\n", .{ table.len, table[table.len - 1] });
    for (arguments[1..]) |argument| {
        const found = parsed(argument) catch |failure| {
            try out.print("error: {t}\n", .{failure});
            continue;
        };
        switch (found) {
            .number => |number| try out.print("number {d}\n", .{number}),
            .word => |length| try out.print("word of {d} letters\n", .{length}),
        }
    }
    try out.writeAll("end of Zig");
    try out.flush();
    return 7;
}
