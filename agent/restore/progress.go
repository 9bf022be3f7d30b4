package restore

import "time"

const (
	reportEvery = time.Second // apart from news that do not wait
	rateOver    = 5 * time.Second
	markEvery   = 200 * time.Millisecond
)

// meter makes a rate out of how much was done when.
type meter struct{ marks []mark }

type mark struct {
	at   time.Time
	done int64
}

// add returns the rate over the last seconds; 0: not known yet.
func (m *meter) add(now time.Time, done int64) int64 {
	last := len(m.marks) - 1
	if last < 0 || now.Sub(m.marks[last].at) >= markEvery {
		m.marks = append(m.marks, mark{now, done})
	}
	for len(m.marks) > 1 && now.Sub(m.marks[1].at) >= rateOver {
		m.marks = m.marks[1:]
	}
	first := m.marks[0]
	took := now.Sub(first.at)
	if took < markEvery || done <= first.done {
		return 0
	}
	return int64(float64(done-first.done) / took.Seconds())
}

// at begins a stage of a job: it is told at once.
func (w *Worker) at(j *job, stage string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	j.report = Report{Stage: stage}
	j.meter = meter{}
	wake(j.urgent)
}

// moved is told by whoever moves bytes for set i of a job. done and total are of the job; total 0: unknown.
func (w *Worker) moved(j *job, i int, ofSet, done, total int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i < len(j.shares) {
		j.shares[i].done = ofSet
	}
	r := &j.report
	r.Done, r.Total = done, total
	r.Rate = j.meter.add(time.Now(), done)
	r.Left = 0
	if r.Rate > 0 && total > done {
		r.Left = time.Duration(float64(total-done) / float64(r.Rate) * float64(time.Second)).Round(time.Second)
	}
	wake(j.news)
}

// written is how many bytes of set i were told of.
func (w *Worker) written(j *job, i int) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return j.shares[i].done
}

// tell is the one goroutine that tells of a job: its stages and its end at once, its progress every second.
func (w *Worker) tell(j *job) {
	defer w.group.Done()
	defer close(j.gone)
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	news := j.news
	for {
		select {
		case <-j.urgent:
		case <-news:
		case <-timer.C:
			news = j.news
			continue
		}
		if w.say(j) {
			return
		}
		news = nil // until the timer
		timer.Reset(reportEvery)
	}
}

// say tells the newest of a job. After its end there is nothing more to tell, and whoever asks again begins anew.
func (w *Worker) say(j *job) (over bool) {
	w.mu.Lock()
	report, told := j.report, j.told
	report.Incident, report.Job = j.incident, j.id
	if j.over {
		if w.jobs[j.name] == j {
			delete(w.jobs, j.name)
		}
		if report.Result != nil {
			r := *report.Result
			r.Joined = r.Joined || j.joined
			report.Result = &r
		}
	}
	over = j.over
	w.mu.Unlock()
	if told != nil && (!over || report.Result != nil) {
		told(report)
	}
	return over
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
