package kube

import "maps"

// fields are those of a JSON object that are kept of an answer, each with its
// own. One without any keeps a text, a number or a truth, and of an object that
// it is there. What holds for an object holds for each in a list.
type fields map[string]fields

// anyField stands for whatever a field is called.
const anyField = "*"

func leaves(names ...string) fields {
	f := fields{}
	for _, name := range names {
		f[name] = fields{}
	}
	return f
}

func (f fields) with(name string, of fields) fields {
	f[name] = of
	return f
}

// objectFields are what is read of an object that somebody else made, of
// whatever kind, or of a refusal. For the rest of this package there are no
// other fields: one that is to be read has to be named here first.
var objectFields = func() fields {
	generator := leaves("apiVersion", "kind", "name")
	source := fields{"sourceRef": {"storeRef": leaves("name", "kind"), "generatorRef": generator}}
	container := leaves("name", "imageID")
	metadata := leaves("name", "namespace", "uid", "resourceVersion", "generation", "deletionTimestamp", "continue").
		with("ownerReferences", leaves("apiVersion", "kind", "name"))
	spec := leaves("clusterIP", "clusterIPs", "publishNotReadyAddresses",
		"refreshInterval", "refreshPolicy", "updatePolicy").
		with("selector", leaves(anyField).with("generatorRef", generator)). // of a Service, and of a PushSecret
		with("provider", fields{"vault": leaves("server")}).
		with("secretStoreRef", leaves("name", "kind")).
		with("secretStoreRefs", leaves("name", "kind", "labelSelector")).
		with("target", leaves("name", "creationPolicy")).
		with("data", source).
		with("dataFrom", source)
	status := leaves("refreshTime", "syncedResourceVersion").
		with("conditions", leaves("type", "status", "reason", "message", "lastTransitionTime")).
		with("containerStatuses", container).
		with("initContainerStatuses", container)
	return leaves("apiVersion", "kind", "message", "reason", "code", "count").
		with("details", leaves("name", "group", "kind", "retryAfterSeconds")).
		with("involvedObject", leaves("uid")). // of an Event
		with("metadata", metadata).
		with("spec", spec).
		with("status", status)
}()

// answerFields are what is read of an object, or of a page of them.
var answerFields = maps.Clone(objectFields).with(itemsField, objectFields)

// podFields are what is read of our own pod when it is asked for by its name. It
// is all that is: labels of others would take room in a page.
var podFields = maps.Clone(objectFields).
	with("metadata", maps.Clone(objectFields["metadata"]).with("labels", leaves(anyField)))

// eventFields are what is read of an event of a watch.
var eventFields = leaves("type").with("object", objectFields)
