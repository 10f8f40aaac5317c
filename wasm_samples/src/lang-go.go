// SPDX-License-Identifier: Apache-2.0

// Go: prints its arguments, works out a number, counts primes with goroutines and channels, recovers from a panic.
package main

import (
	"fmt"
	"os"
	"sort"
	"sync"
)

const workers, limit = 4, 1000

// The number of steps of Collatz's sequence from n to 1.
func steps(n int) (count int) {
	for ; n != 1; count++ {
		if n%2 == 0 {
			n /= 2
		} else {
			n = 3*n + 1
		}
	}
	return count
}

func isPrime(n int) bool {
	for divisor := 2; divisor*divisor <= n; divisor++ {
		if n%divisor == 0 {
			return false
		}
	}
	return n > 1
}

// The primes below limit, in the order in which the workers find them.
func primes() <-chan int {
	numbers, found := make(chan int), make(chan int)
	var running sync.WaitGroup
	for range workers {
		running.Add(1)
		go func() {
			defer running.Done()
			for n := range numbers {
				if isPrime(n) {
					found <- n
				}
			}
		}()
	}
	go func() {
		for n := range limit {
			numbers <- n
		}
		close(numbers)
		running.Wait()
		close(found)
	}()
	return found
}

func main() {
	for i, argument := range os.Args[1:] {
		fmt.Printf("argument %d: %s\n", i+1, argument)
	}
	fmt.Println("steps from 27 to 1:", steps(27))

	byLastDigit := map[int]int{}
	for prime := range primes() {
		byLastDigit[prime%10]++
	}
	fmt.Println("primes by last digit:", byLastDigit)

	digits := make([]int, 0, len(byLastDigit))
	for digit := range byLastDigit {
		digits = append(digits, digit)
	}
	sort.Ints(digits)
	defer func() {
		fmt.Println("recovered:", recover())
		fmt.Print("end of Go")
		os.Exit(7)
	}()
	fmt.Println(digits[len(digits)])
}
