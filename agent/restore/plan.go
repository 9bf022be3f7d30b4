package restore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// plan says where everything is to lie, and refuses what cannot be done. It reads only.
func (t *task) plan() *Fault {
	if len(t.work.Sets) == 0 {
		return &Fault{Failed, "bad job", "The job names no data set."}
	}
	t.sets = make([]SetResult, len(t.work.Sets))
	for i, s := range t.work.Sets {
		t.sets[i] = SetResult{Set: s.Set.Name, Repository: s.Repository.Name, Point: s.Point, Moment: s.Moment}
		if t.cfg.Backends[s.Repository.Kind] == nil {
			return &Fault{Failed, "repository kind not known", fmt.Sprintf("This agent does not know repositories of kind %q, which %q is; use one that does.", s.Repository.Kind, s.Repository.Name)}
		}
		if fault := t.canCheck(s); fault != nil {
			return fault
		}
		p, fault := t.placeOf(i, s)
		if fault != nil {
			return fault
		}
		if p.Target != "" && slices.ContainsFunc(t.places, func(o place) bool { return overlap(p.Target, o.Target) }) {
			return &Fault{Failed, "targets overlap", fmt.Sprintf("Two data sets of the job go to %s, or one into the other; restore them one after the other.", p.Target)}
		}
		t.places = append(t.places, p)
	}
	switch t.work.Kind {
	case KindRestore, KindCheck, KindHold:
	case KindList:
		if len(t.work.Sets) != 1 {
			return &Fault{Failed, "bad job", "A list is of one data set."}
		}
	default:
		return &Fault{Failed, "bad job", fmt.Sprintf("This agent knows no job of kind %q; it may be older than the coordinator.", clean(t.work.Kind, 40))}
	}
	return nil
}

// canCheck refuses, before anything is read, a level that cannot be reached here.
func (t *task) canCheck(s SetWork) *Fault {
	cannot := func(why string) *Fault {
		return &Fault{Failed, "cannot be checked that far", fmt.Sprintf("%s cannot be checked to L%d: %s.", s.Set.Name, s.Level, why)}
	}
	if t.work.Kind != KindRestore && t.work.Kind != KindCheck {
		return nil
	}
	restored := t.work.Kind == KindRestore || s.Level > 1
	switch _, known := t.cfg.Engines[s.Set.Engine]; {
	case s.Level > 4:
		return cannot("only a person can")
	case s.Level >= 3 && s.Set.Engine == "":
		return cannot("the fleet file names no engine for it")
	case restored && s.Set.Engine != "" && !known:
		return cannot(fmt.Sprintf("this agent does not know the engine %q", s.Set.Engine))
	case s.Level == 4 && len(s.Set.Invariants) == 0:
		return cannot("the fleet file names no invariants for it")
	}
	if t.work.Kind == KindCheck {
		if s.Level < 1 {
			return cannot("that is what a list tells")
		}
		if _, ok := t.cfg.Backends[s.Repository.Kind].(Checker); s.Level == 1 && !ok {
			return cannot(fmt.Sprintf("a repository of kind %q has no check of its own", s.Repository.Kind))
		}
	}
	return nil
}

// placeOf is where the data of a set is to lie.
func (t *task) placeOf(i int, s SetWork) (place, *Fault) {
	not := func(format string, args ...any) (place, *Fault) {
		return place{}, &Fault{Failed, "target not allowed", fmt.Sprintf(format, args...) + "; correct it in the fleet file."}
	}
	part := filepath.FromSlash(strings.TrimLeft(s.Set.Part, "/"))
	if part != "" && !filepath.IsLocal(part) {
		return not("The part %q of %s leaves what is restored", s.Set.Part, s.Set.Name)
	}
	switch {
	case t.work.Kind == KindCheck && s.Level > 1:
		above, name := s.Set.Options["scratch"], "set"
		if above == "" && filepath.IsAbs(s.Set.Target) {
			above, name = filepath.Split(filepath.Clean(s.Set.Target))
		}
		if !filepath.IsAbs(above) {
			return not("There is no place to check %s in: it has no absolute target and no absolute option \"scratch\"", s.Set.Name)
		}
		if at, err := os.Stat(above); s.Set.Options["scratch"] != "" && (err != nil || !at.IsDir()) {
			return not("The scratch folder %s of %s is not there: mount or make it", above, s.Set.Name) // else another disk would be filled
		}
		at, err := resolve(filepath.Clean(above))
		if err != nil {
			return not("The folder %s, in which %s is to be checked, cannot be found: %v", above, s.Set.Name, err)
		}
		beside := t.beside(filepath.Join(at, name), "check") + fmt.Sprintf(".%d", i+1)
		return place{Beside: beside, New: filepath.Join(beside, part)}, nil
	case t.work.Kind != KindRestore:
		return place{}, nil
	}
	target := s.Set.Target
	if !filepath.IsAbs(target) || strings.ContainsRune(target, 0) {
		return not("The target %q of %s is no absolute path", target, s.Set.Name)
	}
	at, err := resolve(filepath.Clean(target))
	if err != nil {
		return not("The target %s of %s cannot be found: %v", target, s.Set.Name, err)
	}
	mount, err := mountIn(at)
	switch {
	case filepath.Dir(at) == at:
		return not("The target %s of %s is a whole file system", target, s.Set.Name)
	case overlap(at, t.cfg.StateDir):
		return not("The target %s of %s and the agent's own folder %s lie in each other", target, s.Set.Name, t.cfg.StateDir)
	case err != nil:
		return not("It cannot be told what is mounted below the target %s of %s: %v", target, s.Set.Name, err)
	case mount != "":
		return not("The target %s of %s has the mount point %s in it, which cannot be swapped; name a folder that has none", target, s.Set.Name, mount)
	}
	p := place{Target: at, Beside: t.beside(at, "new"), Old: t.beside(at, "old")}
	p.New = filepath.Join(p.Beside, part)
	return p, nil
}

// beside is a name of this job beside a path.
func (t *task) beside(path, word string) string {
	tag := t.name
	if len(filepath.Base(path))+len(tag) > 200 {
		tag = digest(tag)
	}
	return path + ".blackstart-" + word + "-" + tag
}
