//go:build unix && race

package lab

// slower is what the race detector costs.
const slower = 4
