// policycheck asks containers/image, the library inside of podman, skopeo and bootc, whether a
// policy lets an image in: it copies the image into a folder under that policy.
//
//	policycheck POLICY REGISTRIES_D IMAGE [PRIVATE_KEY PASSPHRASE]
//
// With a key it signs the image in its registry (by a copy onto itself) before.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
)

func run(args []string) error {
	policy, err := signature.NewPolicyFromFile(args[0])
	if err != nil {
		return err
	}
	permitted, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	source, err := docker.ParseReference("//" + args[2])
	if err != nil {
		return err
	}
	system := &types.SystemContext{
		RegistriesDirPath:           args[1],
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		ArchitectureChoice:          "amd64",
	}
	options := &copy.Options{SourceCtx: system, DestinationCtx: system, RemoveSignatures: true}
	if len(args) > 3 {
		options.RemoveSignatures = false
		options.PreserveDigests = true
		options.ImageListSelection = copy.CopyAllImages
		options.SignBySigstorePrivateKeyFile = args[3]
		options.SignSigstorePrivateKeyPassphrase = []byte(args[4])
		options.SignIdentity = nil
		_, err = copy.Image(context.Background(), permitted, source, source, options)
		return err
	}
	folder, err := os.MkdirTemp("", "policycheck-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	target, err := directory.NewReference(folder)
	if err != nil {
		return err
	}
	_, err = copy.Image(context.Background(), permitted, target, source, options)
	return err
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
