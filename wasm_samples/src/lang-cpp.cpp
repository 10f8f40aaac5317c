// SPDX-License-Identifier: Apache-2.0
// C++: prints its arguments, works out a number with a class template, counts words in a std::map.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

namespace {

class Shape {
public:
	virtual ~Shape() = default;
	virtual double area() const = 0;
};

class Rectangle : public Shape {
public:
	Rectangle(double width, double height) : width_(width), height_(height) {}
	double area() const override { return width_ * height_; }

private:
	double width_, height_;
};

class Square : public Rectangle {
public:
	explicit Square(double side) : Rectangle(side, side) {}
};

} // namespace

int main(int argc, char **argv)
{
	const std::vector<std::string> arguments(argv + 1, argv + argc);
	int number = 0;
	for (const auto &argument : arguments)
		std::printf("argument %d: %s\n", ++number, argument.c_str());

	std::vector<std::unique_ptr<Shape>> shapes;
	shapes.push_back(std::make_unique<Rectangle>(2.5, 4));
	shapes.push_back(std::make_unique<Square>(3));
	const double area = std::accumulate(shapes.begin(), shapes.end(), 0.0,
					    [](double sum, const auto &shape) { return sum + shape->area(); });
	std::printf("area of the shapes: %.2f\n", area);

	std::map<std::string, int> count; // sorted by its keys
	for (const auto &argument : arguments)
		count[argument]++;
	std::string text;
	for (const auto &[word, times] : count)
		text += ' ' + word + ':' + std::to_string(times);
	std::printf("counted:%s\nend of C++", text.c_str());
	return 7;
}
