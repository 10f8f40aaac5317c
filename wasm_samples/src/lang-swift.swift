// SPDX-License-Identifier: Apache-2.0

// Swift: prints its arguments, works out a number, adds areas with an enum, a closure and an object that ends.
// Embedded Swift 6.0 has no String: texts are literals (StaticString) and C strings.

enum Shape {
    case circle(radius: Int)
    case rectangle(width: Int, height: Int)

    var area: Int {
        switch self {
        case .circle(let radius): return 355 * radius * radius / 113
        case .rectangle(let width, let height): return width * height
        }
    }
}

final class Meter {
    private(set) var total = 0

    func add(_ number: Int) { total += number }

    deinit {
        print("meter released at ", terminator: "")
        print(total)
    }
}

func each<Element>(_ elements: [Element], _ body: (Element) -> Void) {
    for element in elements { body(element) }
}

/// The number of steps of Collatz's sequence from `start` to 1.
func steps(from start: Int) -> Int {
    var (number, count) = (start, 0)
    while number != 1 {
        number = number % 2 == 0 ? number / 2 : 3 * number + 1
        count += 1
    }
    return count
}

for index in arguments.indices {
    print("argument ", terminator: "")
    print(index + 1, terminator: ": ")
    print(arguments[index])
}
print("steps from 27 to 1: ", terminator: "")
print(steps(from: 27))

do {
    let meter = Meter()
    each([.circle(radius: 10), .rectangle(width: 6, height: 7)]) { (shape: Shape) in
        print("area ", terminator: "")
        print(shape.area)
        meter.add(shape.area)
    }
}

var lengths: [Int: Int] = [:]
for start in 1..<100 { lengths[steps(from: start), default: 0] += 1 }
print("different ways to 1: ", terminator: "")
print(lengths.count)
print("end of Swift", terminator: "")
exit(7)
