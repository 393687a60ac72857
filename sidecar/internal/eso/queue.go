package eso

import "k8s.io/client-go/util/workqueue"

// fairQueue is the order in which stores are handed out: those of the cluster first,
// and then one of each namespace in turn, so that the many broken stores of one hold
// up no other's. It is a workqueue.Queue.
type fairQueue struct {
	namespaces []string // that wait, "" for the cluster's first
	waiting    map[string][]StoreName
	count      int
}

func newQueue() workqueue.TypedDelayingInterface[StoreName] {
	return workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[StoreName]{
		Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[StoreName]{
			Queue: &fairQueue{waiting: map[string][]StoreName{}},
		}),
	})
}

func (q *fairQueue) Touch(StoreName) {}
func (q *fairQueue) Len() int        { return q.count }

func (q *fairQueue) Push(s StoreName) {
	q.count++
	if len(q.waiting[s.Namespace]) == 0 {
		q.wait(s.Namespace)
	}
	q.waiting[s.Namespace] = append(q.waiting[s.Namespace], s)
}

func (q *fairQueue) wait(namespace string) {
	if namespace == "" {
		q.namespaces = append([]string{""}, q.namespaces...)
		return
	}
	q.namespaces = append(q.namespaces, namespace)
}

func (q *fairQueue) Pop() StoreName {
	namespace := q.namespaces[0]
	q.namespaces = q.namespaces[1:]
	next := q.waiting[namespace][0]
	q.count--
	if rest := q.waiting[namespace][1:]; len(rest) > 0 {
		q.waiting[namespace] = rest
		q.wait(namespace)
	} else {
		delete(q.waiting, namespace) // namespaces come and go
	}
	return next
}
