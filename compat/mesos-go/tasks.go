// Tasks: launch, kill, reconcile, failover, groups.
package main

import (
	"fmt"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/resources"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

func scalars(cpus, mem float64) mesos.Resources {
	return mesos.Resources{resources.NewCPUs(cpus).Resource, resources.NewMemory(mem).Resource}
}

// allocated names the offer's role as the resources' allocation, as MULTI_ROLE frameworks do.
func allocated(offer mesos.Offer, list mesos.Resources) mesos.Resources {
	list.Allocate(offer.GetAllocationInfo().GetRole())
	return list
}

func unreserved(cpus, mem float64) func(mesos.Offer) bool {
	return func(offer mesos.Offer) bool {
		free := mesos.Resources(offer.Resources)
		haveCPUs, haveMem := 0.0, 0.0
		for _, r := range free {
			if len(r.Reservations) > 0 || r.Revocable != nil {
				continue
			}
			switch r.Name {
			case "cpus":
				haveCPUs += r.GetScalar().GetValue()
			case "mem":
				haveMem += r.GetScalar().GetValue()
			}
		}
		return haveCPUs >= cpus && haveMem >= mem
	}
}

func shellTask(offer mesos.Offer, id, line string, cpus, mem float64) mesos.TaskInfo {
	return mesos.TaskInfo{
		Name: id, TaskID: mesos.TaskID{Value: id}, AgentID: offer.AgentID,
		Resources: allocated(offer, scalars(cpus, mem)),
		Command:   &mesos.CommandInfo{Value: &line},
	}
}

func refuse(d time.Duration) scheduler.CallOpt { return calls.RefuseSeconds(d) }

func (s *session) launch(offer mesos.Offer, tasks ...mesos.TaskInfo) error {
	accept := calls.Accept(calls.OfferOperations{calls.OpLaunch(tasks...)}.WithOffers(offer.ID))
	return s.call(accept.With(refuse(time.Second)))
}

// Several tasks from one offer: one ends well, one badly, one is killed; one is not valid.
func launch(c config) error {
	s, err := subscribe(c, framework("compat-launch", "compat"), "")
	if err != nil {
		return err
	}
	defer s.close()
	offer, err := s.offer("1 cpu, 256 MB", unreserved(1, 256))
	if err != nil {
		return err
	}
	if offer.GetAllocationInfo().GetRole() != "compat" {
		return fmt.Errorf("the offer is allocated to %q", offer.GetAllocationInfo().GetRole())
	}
	stray := shellTask(offer, "stray", "true", 0.1, 32)
	stray.AgentID.Value = "not-this-agent"
	err = s.launch(offer,
		shellTask(offer, "good", "echo hello; exit 0", 0.1, 32), stray,
		shellTask(offer, "bad", "exit 3", 0.1, 32),
		shellTask(offer, "long", "sleep 1000", 0.1, 32))
	if err != nil {
		return err
	}
	for task, state := range map[string]mesos.TaskState{
		"good": mesos.TASK_FINISHED, "bad": mesos.TASK_FAILED, "long": mesos.TASK_RUNNING, "stray": mesos.TASK_ERROR,
	} {
		if err := s.reaches(task, state); err != nil {
			return err
		}
	}
	if reason := s.updates["stray"][0].GetReason(); reason != mesos.REASON_TASK_INVALID {
		return fmt.Errorf("the stray task's reason is %v", reason)
	}
	first := s.updates["good"][0]
	if first.GetState() != mesos.TASK_STARTING || first.GetSource() != mesos.SOURCE_EXECUTOR || len(first.UUID) != 16 {
		return fmt.Errorf("first update of a good task: %v", first)
	}
	if err := s.call(calls.Kill("long", offer.AgentID.Value)); err != nil {
		return err
	}
	if err := s.reaches("long", mesos.TASK_KILLING); err != nil {
		return err
	}
	if err := s.reaches("long", mesos.TASK_KILLED); err != nil {
		return err
	}
	// Suppressed: nothing comes; revived: offers come again.
	if err := s.call(calls.Suppress()); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	s.drain()
	s.offers = nil
	time.Sleep(3 * time.Second)
	s.drain()
	if len(s.offers) > 0 {
		return fmt.Errorf("offers came although suppressed")
	}
	if err := s.call(calls.Revive()); err != nil {
		return err
	}
	if _, err := s.offer("anything after REVIVE", func(mesos.Offer) bool { return true }); err != nil {
		return err
	}
	return s.teardown()
}

// drain takes what already came.
func (s *session) drain() {
	for {
		select {
		case event, open := <-s.events:
			if !open {
				return
			}
			if s.take(event) != nil {
				return
			}
		default:
			return
		}
	}
}

func (s *session) teardown() error {
	return s.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN})
}

func reconcile(c config) error {
	s, err := subscribe(c, framework("compat-reconcile", "compat"), "")
	if err != nil {
		return err
	}
	defer s.close()
	offer, err := s.offer("0.2 cpus, 64 MB", unreserved(0.2, 64))
	if err != nil {
		return err
	}
	if err := s.launch(offer, shellTask(offer, "kept", "sleep 1000", 0.1, 32)); err != nil {
		return err
	}
	if err := s.reaches("kept", mesos.TASK_RUNNING); err != nil {
		return err
	}
	s.updates = map[string][]mesos.TaskStatus{}
	if err := s.call(calls.Reconcile()); err != nil {
		return err
	}
	if err := s.reaches("kept", mesos.TASK_RUNNING); err != nil {
		return err
	}
	answer := s.updates["kept"][0]
	if len(answer.UUID) > 0 || answer.GetReason() != mesos.REASON_RECONCILIATION || answer.GetSource() != mesos.SOURCE_MASTER {
		return fmt.Errorf("implicit reconciliation answered %v", answer)
	}
	wanted := map[string]string{"kept": offer.AgentID.Value, "never-there": offer.AgentID.Value, "nowhere": ""}
	if err := s.call(calls.Reconcile(calls.ReconcileTasks(wanted))); err != nil {
		return err
	}
	if err := s.reaches("never-there", mesos.TASK_GONE); err != nil {
		return err
	}
	if err := s.reaches("nowhere", mesos.TASK_UNKNOWN); err != nil {
		return err
	}
	return s.teardown()
}

// A scheduler dies and another takes over under its id: the task runs on.
func failover(c config) error {
	info := framework("compat-failover", "compat")
	old, err := subscribe(c, info, "")
	if err != nil {
		return err
	}
	offer, err := old.offer("0.2 cpus, 64 MB", unreserved(0.2, 64))
	if err != nil {
		return err
	}
	old.acks = false
	if err := old.launch(offer, shellTask(offer, "survivor", "sleep 1000", 0.1, 32)); err != nil {
		return err
	}
	if err := old.reaches("survivor", mesos.TASK_STARTING); err != nil {
		return err
	}
	id := old.id
	old.close()
	time.Sleep(500 * time.Millisecond)
	info.ID = &mesos.FrameworkID{Value: id}
	second, err := subscribe(c, info, id)
	if err != nil {
		return err
	}
	if second.id != id {
		return fmt.Errorf("resubscribed as %s, not %s", second.id, id)
	}
	// What was not acknowledged comes again, then the rest in order.
	if err := second.reaches("survivor", mesos.TASK_RUNNING); err != nil {
		return err
	}
	if first := second.updates["survivor"][0]; first.GetState() != mesos.TASK_STARTING {
		return fmt.Errorf("the unacknowledged update did not come first: %v", first)
	}
	third, err := subscribe(c, info, id)
	if err != nil {
		return err
	}
	defer third.close()
	err = second.until("the end of the older stream", func() bool { return false })
	if err == nil || err.Error() != "ERROR event: Framework failed over" {
		return fmt.Errorf("the older stream ended with: %v", err)
	}
	if err := third.call(calls.Kill("survivor", "")); err != nil {
		return err
	}
	if err := third.reaches("survivor", mesos.TASK_KILLED); err != nil {
		return err
	}
	if err := third.teardown(); err != nil {
		return err
	}
	time.Sleep(time.Second)
	if _, err = subscribe(c, info, id); err == nil || err.Error() != "ERROR event: Framework has been removed" {
		return fmt.Errorf("subscribing after TEARDOWN gave: %v", err)
	}
	return nil
}

// A task group on the default executor: one fails, its sibling is killed.
func group(c config) error {
	s, err := subscribe(c, framework("compat-group", "compat"), "")
	if err != nil {
		return err
	}
	defer s.close()
	run := func(name string, lines map[string]string, ends map[string]mesos.TaskState) error {
		offer, err := s.offer("1 cpu, 256 MB", unreserved(1, 256))
		if err != nil {
			return err
		}
		own := append(scalars(0.1, 32), resources.NewDisk(16).Resource)
		executor := mesos.ExecutorInfo{
			Type: mesos.ExecutorInfo_DEFAULT, ExecutorID: mesos.ExecutorID{Value: name},
			FrameworkID: &mesos.FrameworkID{Value: s.id}, Resources: allocated(offer, own),
		}
		var tasks []mesos.TaskInfo
		for id, line := range lines {
			tasks = append(tasks, shellTask(offer, id, line, 0.1, 32))
		}
		operation := calls.OpLaunchGroup(executor, tasks...)
		if err := s.call(calls.Accept(calls.OfferOperations{operation}.WithOffers(offer.ID)).With(refuse(time.Second))); err != nil {
			return err
		}
		for id, state := range ends {
			if err := s.reaches(id, state); err != nil {
				return err
			}
		}
		return nil
	}
	err = run("pod-a", map[string]string{"a-fails": "sleep 1; exit 1", "a-sibling": "sleep 1000"},
		map[string]mesos.TaskState{"a-fails": mesos.TASK_FAILED, "a-sibling": mesos.TASK_KILLED})
	if err != nil {
		return err
	}
	err = run("pod-b", map[string]string{"b-ends": "exit 0", "b-sibling": "sleep 4; exit 0"},
		map[string]mesos.TaskState{"b-ends": mesos.TASK_FINISHED, "b-sibling": mesos.TASK_FINISHED})
	if err != nil {
		return err
	}
	return s.teardown()
}

func killCall(task string) *scheduler.Call { return calls.Kill(task, "") }
