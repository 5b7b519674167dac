package simulation

import (
	"container/heap"
	"time"
)

// epoch is when every world begins.
var epoch = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// timeline is what is to happen, in order.
type timeline struct {
	now   time.Time
	queue happenings
	count uint64
}

// happening is something that is to happen at a time; of equal times, the one
// that was planned first happens first.
type happening struct {
	at    time.Time
	count uint64
	do    func()
}

func (l *timeline) at(t time.Time, do func()) {
	if t.Before(l.now) {
		t = l.now
	}
	l.count++
	heap.Push(&l.queue, happening{t, l.count, do})
}

func (l *timeline) after(d time.Duration, do func()) { l.at(l.now.Add(d), do) }

// next lets one thing happen; false if nothing is to happen before the end.
func (l *timeline) next(end time.Time) bool {
	if len(l.queue) == 0 || l.queue[0].at.After(end) {
		return false
	}
	h := heap.Pop(&l.queue).(happening)
	l.now = h.at
	h.do()
	return true
}

// happenings is a heap.
type happenings []happening

func (q happenings) Len() int { return len(q) }
func (q happenings) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].count < q[j].count
}
func (q happenings) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *happenings) Push(x any)   { *q = append(*q, x.(happening)) }
func (q *happenings) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = happening{}
	*q = (*q)[:last]
	return x
}
