# The SPDX 2.3 document of one image, from what `go version -m -json` reads out
# of its binary. No part of it is random or of the clock.
#
# Arguments: tag, commit, created (RFC 3339), repo (its address), image, arch,
# digest (the image's manifest), files [{name, sha1, sha256}], verification.

def nothing: "NOASSERTION";
def unjudged: {licenseConcluded: nothing, licenseDeclared: nothing, copyrightText: nothing};
def purl(locator): {externalRefs: [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: locator}]};
def relation(from; kind; to): {spdxElementId: from, relationshipType: kind, relatedSpdxElement: to};
def image_id: "SPDXRef-Image";
def binary_id: "SPDXRef-Main";

# A module that another was put in the place of is the other.
[.Deps // [] | .[] | .Replace // .] as $modules |
(.GoVersion | split(" ")[0] | ltrimstr("go")) as $go |
($modules | to_entries | map({
	SPDXID: "SPDXRef-Module-\(.key + 1)", name: .value.Path, versionInfo: .value.Version,
	downloadLocation: nothing, filesAnalyzed: false, primaryPackagePurpose: "LIBRARY",
	sourceInfo: "go.sum: \(.value.Sum)"
} + unjudged + purl("pkg:golang/\(.value.Path)@\(.value.Version | @uri)"))) as $libraries |
({
	SPDXID: "SPDXRef-Stdlib", name: "stdlib", versionInfo: $go,
	downloadLocation: "https://go.dev/dl/go\($go).src.tar.gz", filesAnalyzed: false, primaryPackagePurpose: "LIBRARY"
} + unjudged + purl("pkg:golang/stdlib@\($go | @uri)")) as $stdlib |
({
	SPDXID: image_id, name: $image, versionInfo: $tag, downloadLocation: nothing, primaryPackagePurpose: "CONTAINER",
	filesAnalyzed: true, packageVerificationCode: {packageVerificationCodeValue: $verification},
	checksums: [{algorithm: "SHA256", checksumValue: ($digest | ltrimstr("sha256:"))}]
} + unjudged + purl("pkg:oci/\($image | split("/")[-1])@\($digest | @uri)?arch=\($arch)&tag=\($tag | @uri)")) as $whole |
({
	SPDXID: binary_id, name: ($repo | ltrimstr("https://")), versionInfo: $tag, downloadLocation: "git+\($repo)@\($commit)",
	filesAnalyzed: false, primaryPackagePurpose: "APPLICATION"
} + unjudged + purl("pkg:golang/\($repo | ltrimstr("https://"))@\($tag | @uri)")) as $main |
($files | to_entries | map({
	SPDXID: "SPDXRef-File-\(.key + 1)", fileName: .value.name, licenseConcluded: nothing, copyrightText: nothing,
	checksums: [{algorithm: "SHA1", checksumValue: .value.sha1}, {algorithm: "SHA256", checksumValue: .value.sha256}]
})) as $contents |
{
	spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT",
	name: "\($image | split("/")[-1])-\($tag)-linux-\($arch)",
	documentNamespace: "\($repo)/sbom/\($tag)/\($digest | ltrimstr("sha256:"))",
	creationInfo: {created: $created, creators: ["Tool: \($repo | split("/")[-1])-release-\($tag)"]},
	packages: ([$whole, $main, $stdlib] + $libraries),
	files: $contents,
	relationships: ([
		relation("SPDXRef-DOCUMENT"; "DESCRIBES"; image_id),
		relation(image_id; "CONTAINS"; binary_id)
	] + [$contents[] | relation(image_id; "CONTAINS"; .SPDXID)]
	+ [($stdlib, $libraries[]) | relation(binary_id; "DEPENDS_ON"; .SPDXID)])
}
