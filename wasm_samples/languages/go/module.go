// A module for a test: build it with ./build. It prints its arguments and ends with their number.
package main

import (
	"fmt"
	"os"
)

func main() {
	for i, argument := range os.Args[1:] {
		fmt.Printf("argument %d: %s\n", i+1, argument)
	}
	os.Exit(len(os.Args) - 1)
}
