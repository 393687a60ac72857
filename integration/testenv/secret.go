package testenv

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// MountedSecret is a directory that is written the way the kubelet writes a mounted
// Secret: files are links into ..data, which is a link that is swapped whole.
type MountedSecret struct {
	Dir     string
	version int
}

// NewSecret makes the directory, empty.
func (env *Env) NewSecret() (*MountedSecret, error) {
	dir, err := env.Mkdir("keys")
	return &MountedSecret{Dir: dir}, err
}

// Write replaces the content by these files.
func (s *MountedSecret) Write(files map[string]string) error {
	s.version++
	name := fmt.Sprintf("..2026_01_01_00_00_%02d.%d", s.version%60, s.version)
	dir := filepath.Join(s.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o440); err != nil {
			return err
		}
	}
	old, _ := os.Readlink(filepath.Join(s.Dir, "..data"))
	temporary := filepath.Join(s.Dir, "..data_tmp")
	if err := os.Symlink(name, temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(s.Dir, "..data")); err != nil {
		return err
	}
	for file := range files {
		link := filepath.Join(s.Dir, file)
		if _, err := os.Lstat(link); err == nil {
			continue
		}
		if err := os.Symlink(filepath.Join("..data", file), link); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, kept := files[e.Name()]; !kept && !strings.HasPrefix(e.Name(), "..") {
			if err := os.Remove(filepath.Join(s.Dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(s.Dir, old))
}

// WriteShares replaces the content by one file a share.
func (s *MountedSecret) WriteShares(shares ...string) error {
	files := map[string]string{}
	for i, share := range shares {
		files[fmt.Sprintf("share-%02d", i+1)] = share + "\n"
	}
	return s.Write(files)
}

// Encodings returns every encoding in which a base64 share could be leaked into a text.
func Encodings(share string) []string {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(share, "="))
	if err != nil {
		return []string{share}
	}
	h := hex.EncodeToString(raw)
	return []string{
		share, strings.TrimRight(share, "="), base64.URLEncoding.EncodeToString(raw),
		h, strings.ToUpper(h), string(raw), fmt.Sprint(raw),
		strings.Trim(fmt.Sprintf("%#v", raw), "[]byte{}"),
		base64.StdEncoding.EncodeToString([]byte(share)),
	}
}
