// A custom executor on mesos-go's executor client, and the scheduler that uses it.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"math/rand"
	"os"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/mesos/mesos-go/api/v1/lib/executor/calls"
	execconfig "github.com/mesos/mesos-go/api/v1/lib/executor/config"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpexec"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	schedcalls "github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// runExecutor runs each task until it is killed; a MESSAGE comes back doubled.
func runExecutor() {
	cfg, err := execconfig.FromEnv()
	if err != nil {
		log.Fatal(err)
	}
	client := httpcli.New(httpcli.Endpoint("http://"+cfg.AgentEndpoint+"/api/v1/executor"),
		httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeProtobuf]))
	options := executor.CallOptions{calls.Framework(cfg.FrameworkID), calls.Executor(cfg.ExecutorID)}
	sender := calls.SenderWith(httpexec.NewSender(client.Send), options...)
	stream := calls.SenderWith(httpexec.NewSender(client.Send, httpcli.Close(true)), options...)
	send := func(call *executor.Call) {
		response, err := sender.Send(context.Background(), calls.NonStreaming(call))
		if response != nil {
			response.Close()
		}
		if err != nil {
			log.Println("calling the agent:", err)
		}
	}
	update := func(task mesos.TaskID, state mesos.TaskState) {
		id := make([]byte, 16)
		rand.Read(id)
		send(calls.Update(mesos.TaskStatus{
			TaskID: task, State: state.Enum(), Source: mesos.SOURCE_EXECUTOR.Enum(), UUID: id,
			ExecutorID: &mesos.ExecutorID{Value: cfg.ExecutorID}, Data: []byte{0, 1, 254, 255},
		}))
	}
	response, err := stream.Send(context.Background(), calls.NonStreaming(calls.Subscribe(nil, nil)))
	if err != nil {
		log.Fatal(err)
	}
	defer response.Close()
	for {
		var event executor.Event
		if err := response.Decode(&event); err != nil {
			log.Println("stream:", err)
			return
		}
		log.Println("event", event.GetType())
		switch event.GetType() {
		case executor.Event_LAUNCH:
			task := event.GetLaunch().GetTask()
			if !bytes.Equal(task.Data, []byte("\x00payload\xff")) {
				log.Fatalf("the task's data came as %q", task.Data)
			}
			update(task.TaskID, mesos.TASK_RUNNING)
		case executor.Event_KILL:
			update(event.GetKill().GetTaskID(), mesos.TASK_KILLED)
		case executor.Event_MESSAGE:
			data := event.GetMessage().GetData()
			send(calls.Message(append(append([]byte{}, data...), data...)))
		case executor.Event_SHUTDOWN:
			return
		}
	}
}

func customExecutor(c config) error {
	s, err := subscribe(c, framework("compat-executor", "compat"), "")
	if err != nil {
		return err
	}
	defer s.close()
	offer, err := s.offer("1 cpu, 256 MB", unreserved(1, 256))
	if err != nil {
		return err
	}
	line := fmt.Sprintf("exec %s run-executor", c.self)
	name := "compat executor"
	info := &mesos.ExecutorInfo{
		Type: mesos.ExecutorInfo_CUSTOM, ExecutorID: mesos.ExecutorID{Value: "exec-1"}, Name: &name,
		FrameworkID: &mesos.FrameworkID{Value: s.id}, Command: &mesos.CommandInfo{Value: &line},
		Resources: allocated(offer, scalars(0.1, 64)),
	}
	task := func(id string) mesos.TaskInfo {
		return mesos.TaskInfo{
			Name: id, TaskID: mesos.TaskID{Value: id}, AgentID: offer.AgentID, Executor: info,
			Resources: allocated(offer, scalars(0.1, 32)), Data: []byte("\x00payload\xff"),
		}
	}
	if err := s.launch(offer, task("one"), task("two")); err != nil {
		return err
	}
	for _, id := range []string{"one", "two"} {
		if err := s.reaches(id, mesos.TASK_RUNNING); err != nil {
			return err
		}
		if data := s.updates[id][0].Data; !bytes.Equal(data, []byte{0, 1, 254, 255}) {
			return fmt.Errorf("the update's data came as %v", data)
		}
	}
	payload := []byte("ping\x00\xff")
	if err := s.call(schedcalls.Message(offer.AgentID.Value, "exec-1", payload)); err != nil {
		return err
	}
	deadline := time.After(patience)
	for answered := false; !answered; {
		select {
		case event, open := <-s.events:
			if !open {
				return fmt.Errorf("the stream ended")
			}
			if event.GetType() == scheduler.Event_MESSAGE {
				got := event.GetMessage().GetData()
				if !bytes.Equal(got, append(append([]byte{}, payload...), payload...)) {
					return fmt.Errorf("the executor's message came as %q", got)
				}
				answered = true
			}
			if err := s.take(event); err != nil {
				return err
			}
		case <-deadline:
			return fmt.Errorf("no MESSAGE from the executor")
		}
	}
	if err := s.call(schedcalls.Kill("one", offer.AgentID.Value)); err != nil {
		return err
	}
	if err := s.reaches("one", mesos.TASK_KILLED); err != nil {
		return err
	}
	if err := s.call(schedcalls.Shutdown("exec-1", offer.AgentID.Value)); err != nil {
		return err
	}
	if err := s.reaches("two", mesos.TASK_FAILED); err != nil {
		return err
	}
	if reason := s.updates["two"][len(s.updates["two"])-1].GetReason(); reason != mesos.REASON_EXECUTOR_TERMINATED {
		return fmt.Errorf("the last task's reason is %v", reason)
	}
	fmt.Fprintln(os.Stderr, "executor scenario done")
	return s.teardown()
}
