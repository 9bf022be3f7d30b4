package health

import (
	"context"
	"time"
)

// Check is one question about the machine's health. Run returns what it saw, and an error when the machine is not well;
// it must come back soon after ctx ends.
type Check struct {
	Name string
	Run  func(ctx context.Context) (detail string, err error)
}

// Result is a Check's answer.
type Result struct {
	Name   string
	OK     bool
	Detail string // what was seen, or what is wrong
}

// checkLimit is the time that one check may take.
const checkLimit = 5 * time.Second

// Checks asks every check in turn.
func Checks(ctx context.Context, checks []Check) []Result {
	results := make([]Result, len(checks))
	for i, c := range checks {
		results[i] = c.ask(ctx)
	}
	return results
}

func (c Check) ask(ctx context.Context) Result {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	detail, err := c.Run(ctx)
	if err != nil {
		return Result{Name: c.Name, Detail: clip(err.Error())}
	}
	return Result{Name: c.Name, OK: true, Detail: clip(detail)}
}
