// What this does does not matter: what it brings along is looked at.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
	"sync"
	"text/template"
)

type number interface{ ~int | ~float64 }

func largest[T number](all []T) T {
	best := all[0]
	for _, one := range all[1:] {
		if one > best {
			best = one
		}
	}
	return best
}

func main() {
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		defer group.Done()
		words := strings.Fields("the quick brown fox")
		sort.Slice(words, func(i, j int) bool { return words[i] < words[j] })
		json.NewEncoder(os.Stdout).Encode(words)
	}()
	group.Wait()
	fmt.Println(largest([]int{1, 3, 2}), largest([]float64{1, 3, 2}))
	fmt.Println(regexp.MustCompile("a+b*").FindString("caab"))
	template.Must(template.New("it").Parse("{{.}}")).Execute(os.Stdout, 7)
}
