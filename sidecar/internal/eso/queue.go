package eso

import "k8s.io/client-go/util/workqueue"

// fairQueue is the order in which stores are handed out: one of the cluster, then one of the next
// namespace in turn, so that the many broken stores of one hold up no other's, nor those of the
// cluster all of them. Before any of them comes resyncKey, which is there once. It is a
// workqueue.Queue.
type fairQueue struct {
	resync     bool
	cluster    []StoreName
	clusterWas bool     // handed out last
	namespaces []string // that wait
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
	switch {
	case s == resyncKey:
		q.resync = true
		return
	case s.Namespace == "":
		q.cluster = append(q.cluster, s)
		return
	}
	if len(q.waiting[s.Namespace]) == 0 {
		q.namespaces = append(q.namespaces, s.Namespace)
	}
	q.waiting[s.Namespace] = append(q.waiting[s.Namespace], s)
}

func (q *fairQueue) Pop() StoreName {
	q.count--
	if q.resync {
		q.resync = false
		return resyncKey
	}
	q.clusterWas = len(q.cluster) > 0 && (!q.clusterWas || len(q.namespaces) == 0)
	if q.clusterWas {
		next := q.cluster[0]
		q.cluster = q.cluster[1:]
		return next
	}
	namespace := q.namespaces[0]
	q.namespaces = q.namespaces[1:]
	next := q.waiting[namespace][0]
	if rest := q.waiting[namespace][1:]; len(rest) > 0 {
		q.waiting[namespace] = rest
		q.namespaces = append(q.namespaces, namespace)
	} else {
		delete(q.waiting, namespace) // namespaces come and go
	}
	return next
}
