// Reservations and persistent volumes.
package main

import (
	"fmt"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/resources"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

const volumeRole = "compat-volumes"

func reserved(r mesos.Resource) mesos.Resource {
	dynamic, role := mesos.Resource_ReservationInfo_DYNAMIC, volumeRole
	key, value := "purpose", "compat"
	r.Role = nil
	r.Reservations = []mesos.Resource_ReservationInfo{{
		Type: &dynamic, Role: &role,
		Labels: &mesos.Labels{Labels: []mesos.Label{{Key: key, Value: &value}}},
	}}
	return r
}

func volumeOf(offer mesos.Offer, id string) *mesos.Resource {
	for i, r := range offer.Resources {
		if r.GetDisk().GetPersistence().GetID() == id {
			return &offer.Resources[i]
		}
	}
	return nil
}

func freeDisk(offer mesos.Offer, amount float64) bool {
	for _, r := range offer.Resources {
		if r.Name == "disk" && len(r.Reservations) == 0 && r.Disk == nil && r.GetScalar().GetValue() >= amount {
			return true
		}
	}
	return false
}

// RESERVE, CREATE and LAUNCH in one ACCEPT; the volume outlives its task; DESTROY and UNRESERVE.
func volumes(c config) error {
	s, err := subscribe(c, framework("compat-volumes", volumeRole), "")
	if err != nil {
		return err
	}
	defer s.close()
	offer, err := s.offer("0.2 cpus, 64 MB, 64 MB of disk", func(offer mesos.Offer) bool {
		return unreserved(0.2, 64)(offer) && freeDisk(offer, 64)
	})
	if err != nil {
		return err
	}
	disk := reserved(resources.NewDisk(64).Resource)
	volume := disk
	mode := mesos.RW
	volume.Disk = &mesos.Resource_DiskInfo{
		Persistence: &mesos.Resource_DiskInfo_Persistence{ID: "data-1"},
		Volume:      &mesos.Volume{ContainerPath: "data", Mode: &mode},
	}
	role := offer.GetAllocationInfo().GetRole()
	allocate := func(r mesos.Resource) mesos.Resource { r.Allocate(role); return r }
	writer := shellTask(offer, "writer", "echo kept > data/file", 0.1, 32)
	writer.Resources = append(writer.Resources, allocate(volume))
	accept := calls.Accept(calls.OfferOperations{
		calls.OpReserve(allocate(disk)), calls.OpCreate(allocate(volume)), calls.OpLaunch(writer),
	}.WithOffers(offer.ID)).With(refuse(0))
	if err := s.call(accept); err != nil {
		return err
	}
	if err := s.reaches("writer", mesos.TASK_FINISHED); err != nil {
		return err
	}
	// The volume comes back, with its labels, and still holds what was written.
	offer, err = s.offer("volume data-1", func(offer mesos.Offer) bool {
		return volumeOf(offer, "data-1") != nil && unreserved(0.1, 32)(offer)
	})
	if err != nil {
		return err
	}
	back := volumeOf(offer, "data-1")
	if labels := back.Reservations[0].GetLabels().GetLabels(); len(labels) != 1 || labels[0].Key != "purpose" {
		return fmt.Errorf("the reservation came back as %v", back.Reservations)
	}
	reader := shellTask(offer, "reader", `test "$(cat data/file)" = kept`, 0.1, 32)
	reader.Resources = append(reader.Resources, *back)
	if err := s.call(calls.Accept(calls.OfferOperations{calls.OpLaunch(reader)}.WithOffers(offer.ID)).With(refuse(0))); err != nil {
		return err
	}
	if err := s.reaches("reader", mesos.TASK_FINISHED); err != nil {
		return err
	}
	offer, err = s.offer("volume data-1 once more", func(offer mesos.Offer) bool { return volumeOf(offer, "data-1") != nil })
	if err != nil {
		return err
	}
	// The principal in effect may have been filled in: give back exactly what was offered.
	back = volumeOf(offer, "data-1")
	plain := *back
	plain.Disk = nil
	undo := calls.OfferOperations{calls.OpDestroy(*back), calls.OpUnreserve(plain)}
	if err := s.call(calls.Accept(undo.WithOffers(offer.ID)).With(refuse(time.Second))); err != nil {
		return err
	}
	_, err = s.offer("an agent without reservation", func(next mesos.Offer) bool {
		return next.AgentID.Value == offer.AgentID.Value && volumeOf(next, "data-1") == nil && freeDisk(next, 64)
	})
	if err != nil {
		return err
	}
	return s.teardown()
}
