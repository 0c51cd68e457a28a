// The operator API by mesos-go's master client: reads, weights, and the event stream.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpmaster"
	"github.com/mesos/mesos-go/api/v1/lib/master"
	"github.com/mesos/mesos-go/api/v1/lib/master/calls"
)

func operator(c config) error {
	client := httpcli.New(httpcli.Endpoint(c.master+"/api/v1"), httpcli.Codec(codec(c.codec)))
	plain := httpmaster.NewSender(client.Send)
	ask := func(call *master.Call) (*master.Response, error) {
		response, err := plain.Send(context.Background(), calls.NonStreaming(call))
		if response != nil {
			defer response.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("%v: %w", call.GetType(), err)
		}
		answer := new(master.Response)
		if err := response.Decode(answer); err != nil {
			return nil, fmt.Errorf("%v: %w", call.GetType(), err)
		}
		return answer, nil
	}
	for _, call := range []*master.Call{
		calls.GetHealth(), calls.GetVersion(), calls.GetFlags(), calls.GetMaster(), calls.GetState(),
		calls.GetFrameworks(), calls.GetExecutors(), calls.GetTasks(), calls.GetRoles(), calls.GetWeights(),
		calls.GetQuota(), calls.GetMaintenanceStatus(), calls.GetMaintenanceSchedule(), calls.GetLoggingLevel(),
	} {
		answer, err := ask(call)
		if err != nil {
			return err
		}
		if answer.GetType().String() != call.GetType().String() {
			return fmt.Errorf("%v was answered as %v", call.GetType(), answer.GetType())
		}
	}
	agents, err := ask(calls.GetAgents())
	if err != nil {
		return err
	}
	if len(agents.GetGetAgents().GetAgents()) == 0 {
		return fmt.Errorf("no agents")
	}
	stream := httpmaster.NewSender(client.Send, httpcli.Close(true))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	response, err := stream.Send(ctx, calls.NonStreaming(calls.Subscribe()))
	if err != nil {
		return err
	}
	defer response.Close()
	seen := make(chan master.Event, 1000)
	go func() {
		defer close(seen)
		for {
			var event master.Event
			if response.Decode(&event) != nil {
				return
			}
			seen <- event
		}
	}()
	if first := <-seen; first.GetType() != master.Event_SUBSCRIBED || first.GetSubscribed().GetGetState() == nil {
		return fmt.Errorf("the event stream begins with %v", first.GetType())
	}
	// A framework runs a task: the stream tells of each step, in order.
	s, err := subscribe(c, framework("compat-operator", "compat"), "")
	if err != nil {
		return err
	}
	defer s.close()
	offer, err := s.offer("0.2 cpus, 64 MB", unreserved(0.2, 64))
	if err != nil {
		return err
	}
	if err := s.launch(offer, shellTask(offer, "watched", "exit 0", 0.1, 32)); err != nil {
		return err
	}
	if err := s.reaches("watched", mesos.TASK_FINISHED); err != nil {
		return err
	}
	if err := s.teardown(); err != nil {
		return err
	}
	wanted := []master.Event_Type{
		master.Event_FRAMEWORK_ADDED, master.Event_TASK_ADDED, master.Event_TASK_UPDATED, master.Event_FRAMEWORK_REMOVED,
	}
	deadline := time.After(patience)
	for len(wanted) > 0 {
		select {
		case event, open := <-seen:
			if !open {
				return fmt.Errorf("the event stream ended before %v", wanted[0])
			}
			if event.GetType() == wanted[0] {
				wanted = wanted[1:]
			}
		case <-deadline:
			return fmt.Errorf("no %v event", wanted[0])
		}
	}
	weights := calls.UpdateWeights(mesos.WeightInfo{Role: proto("compat"), Weight: 2.5})
	if reply, err := plain.Send(ctx, calls.NonStreaming(weights)); err != nil {
		return err
	} else if reply != nil {
		reply.Close()
	}
	answer, err := ask(calls.GetWeights())
	if err != nil {
		return err
	}
	for _, weight := range answer.GetGetWeights().GetWeightInfos() {
		if weight.GetRole() == "compat" && weight.GetWeight() == 2.5 {
			return nil
		}
	}
	return fmt.Errorf("the weight is not there: %v", answer)
}

func proto(text string) *string { return &text }
