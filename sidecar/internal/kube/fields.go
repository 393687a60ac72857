package kube

import "maps"

// fields are those of a JSON object that are kept of an answer, each with its
// own. One without any keeps a text, a number or a truth, and of an object that
// it is there. What holds for an object holds for each in a list.
type fields map[string]fields

// anyField stands for whatever a field is called.
const anyField = "*"

var (
	storeFields     = fields{"name": nil, "kind": nil}
	referenceFields = fields{"apiVersion": nil, "kind": nil, "name": nil}
	sourceFields    = fields{"sourceRef": {"storeRef": storeFields, "generatorRef": referenceFields}}
	vaultFields     = fields{"server": nil, "namespace": nil, "auth": {"namespace": nil}}
	containerFields = fields{"name": nil, "imageID": nil}
	// Of an Ingress, and of an HTTPRoute.
	ruleFields = fields{
		"host": nil, "http": {"paths": {"backend": {"service": {"name": nil}}}},
		"backendRefs": {"kind": nil, "namespace": nil, "name": nil},
	}
	metadataFields = fields{
		"name": nil, "namespace": nil, "uid": nil, "resourceVersion": nil,
		"deletionTimestamp": nil, "continue": nil,
	}
)

// objectFields are what is read of an object that somebody else made, of
// whatever kind, or of a refusal. For the rest of this package there are no
// other fields: one that is to be read has to be named here first.
var objectFields = fields{
	"apiVersion": nil, "kind": nil, "message": nil, "reason": nil, "code": nil, "count": nil,
	"details":        {"name": nil, "group": nil, "kind": nil, "retryAfterSeconds": nil},
	"involvedObject": {"uid": nil}, // of an Event
	"metadata":       metadataFields,
	"spec": {
		"clusterIP": nil, "clusterIPs": nil, "externalIPs": nil, "publishNotReadyAddresses": nil,
		"selector":        {anyField: nil, "generatorRef": referenceFields}, // of a Service, and of a PushSecret
		"provider":        {"vault": vaultFields, "openBao": vaultFields},
		"refreshPolicy":   nil,
		"syncWindows":     nil,
		"secretStoreRef":  storeFields,
		"secretStoreRefs": {"name": nil, "kind": nil, "labelSelector": nil},
		"data":            sourceFields,
		"dataFrom":        sourceFields,
		"rules":           ruleFields,
		"hostnames":       nil,
	},
	"status": {
		"allowed":               nil, // of a review of access
		"refreshTime":           nil,
		"loadBalancer":          {"ingress": {"ip": nil, "hostname": nil}}, // of a Service
		"conditions":            {"type": nil, "status": nil, "reason": nil, "message": nil, "lastTransitionTime": nil},
		"containerStatuses":     containerFields,
		"initContainerStatuses": containerFields,
	},
}

// answerFields are what is read of an answer: of an object, of a page of them, or of an
// event of a watch. Labels are read of our own pod, which is asked for by its name: those
// of others would take room in a page.
var answerFields = func() fields {
	f := maps.Clone(objectFields)
	f["metadata"] = maps.Clone(metadataFields)
	f["metadata"]["labels"] = fields{anyField: nil}
	f[itemsField], f["type"], f["object"] = objectFields, nil, objectFields
	return f
}()
