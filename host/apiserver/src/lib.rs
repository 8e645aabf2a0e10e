//! The impersonating proxy in front of kube-apiserver.
