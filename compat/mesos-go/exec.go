// A command in the container of a running task, by mesos-go's agent client.
package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/agent"
	"github.com/mesos/mesos-go/api/v1/lib/agent/calls"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpagent"
)

func execute(c config) error {
	s, err := subscribe(c, framework("compat-exec", "compat"), "")
	if err != nil {
		return err
	}
	defer s.close()
	offer, err := s.offer("0.2 cpus, 64 MB", unreserved(0.2, 64))
	if err != nil {
		return err
	}
	if err := s.launch(offer, shellTask(offer, "host-of-exec", "echo mark > here; sleep 1000", 0.1, 32)); err != nil {
		return err
	}
	if err := s.reaches("host-of-exec", mesos.TASK_RUNNING); err != nil {
		return err
	}
	updates := s.updates["host-of-exec"]
	parent := updates[len(updates)-1].GetContainerStatus().GetContainerID()
	if parent == nil {
		return fmt.Errorf("TASK_RUNNING names no container")
	}
	// By way of the cluster's door: …/mesos is the master, …/agent/<id> an agent.
	door := strings.TrimSuffix(c.master, "/mesos")
	client := httpcli.New(httpcli.Endpoint(door+"/agent/"+offer.AgentID.Value+"/api/v1"), httpcli.Codec(codec(c.codec)))
	sender := httpagent.NewSender(client.Send)
	id := mesos.ContainerID{Value: "session-" + c.codec, Parent: parent}
	line := "cat here; echo to-stderr >&2; exit 3"
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	response, err := sender.Send(ctx, calls.NonStreaming(calls.LaunchNestedContainerSession(id, &mesos.CommandInfo{Value: &line}, nil)))
	if err != nil {
		return fmt.Errorf("LAUNCH_NESTED_CONTAINER_SESSION: %w", err)
	}
	defer response.Close()
	output := map[agent.ProcessIO_Data_Type]string{}
	for {
		var record agent.ProcessIO
		if err := response.Decode(&record); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if record.GetType() == agent.ProcessIO_DATA {
			output[record.GetData().GetType()] += string(record.GetData().GetData())
		}
	}
	if output[agent.ProcessIO_Data_STDOUT] != "mark\n" || output[agent.ProcessIO_Data_STDERR] != "to-stderr\n" {
		return fmt.Errorf("the session printed %q", output)
	}
	waited, err := sender.Send(ctx, calls.NonStreaming(calls.WaitNestedContainer(id)))
	if err != nil {
		return fmt.Errorf("WAIT_NESTED_CONTAINER: %w", err)
	}
	defer waited.Close()
	var answer agent.Response
	if err := waited.Decode(&answer); err != nil {
		return err
	}
	if status := answer.GetWaitNestedContainer().GetExitStatus(); status != 3<<8 {
		return fmt.Errorf("the session's wait status is %d", status)
	}
	if err := s.call(killCall("host-of-exec")); err != nil {
		return err
	}
	if err := s.reaches("host-of-exec", mesos.TASK_KILLED); err != nil {
		return err
	}
	return s.teardown()
}
