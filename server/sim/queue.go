package sim

import (
	"container/heap"
	"time"
)

// queue holds what is to happen, in the order of time and, at one moment, in the order in which it was arranged.
type queue struct {
	list []happening
	n    uint64
}

type happening struct {
	at time.Duration // since the world began
	n  uint64
	do func()
}

func (q *queue) Len() int { return len(q.list) }
func (q *queue) Less(i, j int) bool {
	a, b := &q.list[i], &q.list[j]
	return a.at < b.at || a.at == b.at && a.n < b.n
}
func (q *queue) Swap(i, j int) { q.list[i], q.list[j] = q.list[j], q.list[i] }
func (q *queue) Push(x any)    { q.list = append(q.list, x.(happening)) }
func (q *queue) Pop() any {
	last := len(q.list) - 1
	x := q.list[last]
	q.list[last] = happening{}
	q.list = q.list[:last]
	return x
}

func (q *queue) add(at time.Duration, do func()) {
	q.n++
	heap.Push(q, happening{at, q.n, do})
}

// first is when the next thing happens; ok is false when nothing will.
func (q *queue) first() (at time.Duration, ok bool) {
	if len(q.list) == 0 {
		return 0, false
	}
	return q.list[0].at, true
}

func (q *queue) pop() happening { return heap.Pop(q).(happening) }
