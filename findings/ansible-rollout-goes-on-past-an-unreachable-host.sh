#!/usr/bin/env bash
# Neither max_fail_percentage: 0 nor any_errors_fatal stops an Ansible rollout at an unreachable host.
#
# Software: ansible-core 2.19.14 (PyPI), which needs Python 3.11; OpenSSH client as installed.
# Guess:    With `serial: 2` and `max_fail_percentage: 0` a rollout ends with the batch in which a
#           host is lost. `any_errors_fatal: true` is stricter still: the first error ends the play.
# Seen:     Both do so for a task that fails. A host that does not answer ("unreachable") counts for
#           neither: with max_fail_percentage every other host of this batch and of all later ones is
#           deployed. With any_errors_fatal the batch of the lost host is cut short, with its good
#           host left half done, and then the next batches are deployed to the end.
# So:       A version that takes the network, sshd or the memory of its hosts with it is rolled out
#           to the last one, by a play that reads as if it stopped at the first. What must stop has
#           to ask by itself, such as `ansible_play_hosts | length` against `ansible_play_batch` in a
#           task of its own.
#
# Needs python3 with venv and pip, and ssh. Exit status: 0 seen again, 1 the behaviour changed, 77 a
# tool is missing.
set -euo pipefail
for tool in python3 ssh; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  ansible-core==2.19.14 || { echo "missing: the package, from pip"; exit 77; }
touch "$work/ansible.cfg"
export ANSIBLE_CONFIG="$work/ansible.cfg" ANSIBLE_HOME="$work/home" \
  ANSIBLE_LOCAL_TEMP="$work/local" LC_ALL=C.UTF-8
echo "ansible-core $("$work/venv/bin/pip" show ansible-core 2>/dev/null | sed -n 's/^Version: //p')"

# Four hosts in two batches. The second one of the first batch is lost: nobody listens on port 1.
cat >"$work/hosts" <<HOSTS
[all:vars]
ansible_python_interpreter=$work/venv/bin/python
ansible_remote_tmp=$work/remote
[all]
one ansible_connection=local
two ansible_connection=local
three ansible_connection=local
four ansible_connection=local
HOSTS
sed 's/^two .*/two ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1/' \
  "$work/hosts" >"$work/lost"

play() { # the inventory, what the second host does, the setting
  cat >"$work/play.yml" <<PLAY
- hosts: all
  gather_facts: false
  serial: 2
  $3
  tasks:
    - name: look
      ansible.builtin.command: "{{ '$2' if inventory_hostname == 'two' else 'true' }}"
    - name: deploy
      ansible.builtin.command: "touch $work/deployed.{{ inventory_hostname }}"
PLAY
  rm -f "$work"/deployed.*
  local status=0 host
  timeout --kill-after=5 300 "$work/venv/bin/ansible-playbook" -i "$work/$1" "$work/play.yml" \
    >"$work/log" 2>&1 </dev/null || status=$?
  printf '%s, host two %s: exit %s, deployed:' "$3" "$([ "$1" = lost ] && echo unreachable || echo fails)" \
    "$status"
  for host in one two three four; do [ ! -e "$work/deployed.$host" ] || printf ' %s' "$host"; done
  echo
}

echo "expected: no line deploys to three and four"
{
  play hosts false "max_fail_percentage: 0"
  play lost true "max_fail_percentage: 0"
  play hosts false "any_errors_fatal: true"
  play lost true "any_errors_fatal: true"
} | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { tail -20 "$work/log"; echo "CHANGED"; exit 1; }
max_fail_percentage: 0, host two fails: exit 2, deployed:
max_fail_percentage: 0, host two unreachable: exit 4, deployed: one three four
any_errors_fatal: true, host two fails: exit 2, deployed:
any_errors_fatal: true, host two unreachable: exit 4, deployed: three four
SEEN
echo "seen: the rollout goes on without the host that it has lost"
