// One subscription of a framework, on mesos-go's own HTTP scheduler client.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

const patience = 60 * time.Second

type session struct {
	caller calls.Caller
	cancel context.CancelFunc
	ctx    context.Context
	id     string
	events chan scheduler.Event
	// Offers at hand, in the order they came.
	offers []mesos.Offer
	// Newest state per task.
	states map[string]mesos.TaskState
	// All updates in order, per task.
	updates map[string][]mesos.TaskStatus
	acks    bool
}

func codec(name string) encoding.Codec {
	if name == "json" {
		return codecs.ByMediaType[codecs.MediaTypeJSON]
	}
	return codecs.ByMediaType[codecs.MediaTypeProtobuf]
}

func framework(name string, roles ...string) *mesos.FrameworkInfo {
	timeout, checkpoint := 600.0, true
	capability := func(t mesos.FrameworkInfo_Capability_Type) mesos.FrameworkInfo_Capability {
		return mesos.FrameworkInfo_Capability{Type: t}
	}
	return &mesos.FrameworkInfo{
		User: "root", Name: name, FailoverTimeout: &timeout, Checkpoint: &checkpoint, Roles: roles,
		Capabilities: []mesos.FrameworkInfo_Capability{
			capability(mesos.FrameworkInfo_Capability_MULTI_ROLE),
			capability(mesos.FrameworkInfo_Capability_PARTITION_AWARE),
			capability(mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT),
			capability(mesos.FrameworkInfo_Capability_TASK_KILLING_STATE),
		},
	}
}

// subscribe opens a stream and waits for SUBSCRIBED.
func subscribe(c config, info *mesos.FrameworkInfo, id string) (*session, error) {
	endpoint := c.master + "/api/v1/scheduler"
	cli := httpcli.New(httpcli.Endpoint(endpoint), httpcli.Codec(codec(c.codec)),
		httpcli.Do(httpcli.With(httpcli.Timeout(0))))
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{
		caller: httpsched.NewCaller(cli), cancel: cancel, ctx: ctx, events: make(chan scheduler.Event, 10000),
		states: map[string]mesos.TaskState{}, updates: map[string][]mesos.TaskStatus{}, acks: true,
	}
	call := calls.Subscribe(info)
	if id != "" {
		call = call.With(calls.SubscribeTo(id))
	}
	response, err := s.caller.Call(ctx, call)
	if err != nil {
		return nil, fmt.Errorf("subscribing: %w", err)
	}
	go func() {
		defer response.Close()
		defer close(s.events)
		for {
			var event scheduler.Event
			if err := response.Decode(&event); err != nil {
				if err != io.EOF && ctx.Err() == nil {
					log.Println("stream:", err)
				}
				return
			}
			s.events <- event
		}
	}()
	err = s.until("SUBSCRIBED", func() bool { return s.id != "" })
	return s, err
}

func (s *session) call(call *scheduler.Call) error {
	response, err := s.caller.Call(s.ctx, call.With(calls.Framework(s.id)))
	if response != nil {
		response.Close()
	}
	return err
}

// until takes events until the condition holds.
func (s *session) until(what string, done func() bool) error {
	deadline := time.After(patience)
	for !done() {
		select {
		case event, open := <-s.events:
			if !open {
				return fmt.Errorf("the stream ended while waiting for %s", what)
			}
			if err := s.take(event); err != nil {
				return err
			}
		case <-deadline:
			return fmt.Errorf("no %s within %v; task states: %v, offers at hand: %d", what, patience, s.states, len(s.offers))
		}
	}
	return nil
}

func (s *session) take(event scheduler.Event) error {
	switch event.GetType() {
	case scheduler.Event_SUBSCRIBED:
		s.id = event.GetSubscribed().GetFrameworkID().Value
		if event.GetSubscribed().GetMasterInfo() == nil {
			return fmt.Errorf("SUBSCRIBED without master_info")
		}
	case scheduler.Event_OFFERS:
		s.offers = append(s.offers, event.GetOffers().GetOffers()...)
	case scheduler.Event_RESCIND:
		gone := event.GetRescind().GetOfferID().Value
		for i, offer := range s.offers {
			if offer.ID.Value == gone {
				s.offers = append(s.offers[:i], s.offers[i+1:]...)
				break
			}
		}
	case scheduler.Event_UPDATE:
		status := event.GetUpdate().GetStatus()
		task := status.TaskID.Value
		s.states[task] = status.GetState()
		s.updates[task] = append(s.updates[task], status)
		log.Printf("%s is %v (%v) %s", task, status.GetState(), status.GetReason(), status.GetMessage())
		if s.acks && len(status.UUID) > 0 {
			return s.call(calls.Acknowledge(status.GetAgentID().Value, task, status.UUID))
		}
	case scheduler.Event_ERROR:
		return fmt.Errorf("ERROR event: %s", event.GetError().GetMessage())
	}
	return nil
}

// offer waits for an offer with this much, declines all others and takes it.
func (s *session) offer(what string, fits func(mesos.Offer) bool) (mesos.Offer, error) {
	var found *mesos.Offer
	err := s.until("offer with "+what, func() bool {
		for len(s.offers) > 0 && found == nil {
			offer := s.offers[0]
			s.offers = s.offers[1:]
			if fits(offer) {
				found = &offer
				continue
			}
			if err := s.call(calls.Decline(offer.ID).With(calls.RefuseSeconds(time.Second))); err != nil {
				log.Println("declining:", err)
			}
		}
		return found != nil
	})
	if err != nil {
		return mesos.Offer{}, err
	}
	return *found, nil
}

// reaches waits until the task has been in the state.
func (s *session) reaches(task string, state mesos.TaskState) error {
	return s.until(fmt.Sprintf("%v of %s", state, task), func() bool {
		for _, status := range s.updates[task] {
			if status.GetState() == state {
				return true
			}
		}
		return false
	})
}

// close ends the stream without a word, as a crash would.
func (s *session) close() { s.cancel() }
