import { AGENT_PIN, AGENT_URL } from '../config/agent-url.js';

export type UserDataInput = {
  /** Text of agent.sh. */
  script: string;
  /** AGENT_URL, where instances reach the API: http(s)://host[:port][/path]. */
  apiUrl: string;
  /** AGENT_PINS: keys of the servers there, each `sha256//<base64>=`. With one at least, apiUrl is https. */
  pins?: readonly string[];
  /** 64 hex characters, good for the registrations of one launch. */
  launchSecret: string;
  cluster: string;
};

/** EC2's limit is 16 KB before base64; RunInstances refuses more. */
export const USER_DATA_LIMIT_BYTES = 16_384;

/**
 * The first-boot script of every instance, before it is packed: generic, so that one RunInstances call can start many instances, and
 * free of job data, because user-data can be read by anybody who may describe the instance.
 *
 * @throws Error naming the input that cannot be rendered.
 */
export function renderUserData({ script, apiUrl, pins = [], launchSecret, cluster }: UserDataInput): string {
  // The shell script has the values in single quotes, which these patterns keep out of the values.
  if (!AGENT_URL.test(apiUrl)) throw new Error('apiUrl: must be a plain http(s) URL without query, user or fragment');
  if (!pins.every((pin) => AGENT_PIN.test(pin)))
    throw new Error('pins: must each be sha256//<43 characters of base64>=');
  if (pins.length > 0 && !apiUrl.startsWith('https:')) throw new Error('apiUrl: must begin with https:// for pins');
  if (!/^[0-9a-f]{64}$/.test(launchSecret)) throw new Error('launchSecret: must be 64 lower-case hex characters');
  if (!/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(cluster)) {
    throw new Error('cluster: must be letters, digits, dots, underscores and inner hyphens, 63 at most');
  }
  if (!script.startsWith('#!/bin/sh\n')) throw new Error('script: must begin with #!/bin/sh');
  if (script.split('\n').includes(END_OF_SCRIPT)) throw new Error(`script: must not contain the line ${END_OF_SCRIPT}`);

  return `#!/bin/sh
# Installs the agent of the scheduler cluster ${cluster}. Writes below its state folder only, calls tools by bare name.
umask 077
dir=\${SCHEDULER_AGENT_DIR:-/var/lib/scheduler-agent}
mkdir -p "$dir" && cd "$dir" || exit 1
# Half of it would be worse than nothing: an agent without its pins obeys whoever answers.
set -e
printf %s '${apiUrl.replace(/\/+$/, '')}' >api-url
printf %s '${pins.join(';')}' >pins
printf %s '${launchSecret}' >launch-secret
cat >agent.sh <<'${END_OF_SCRIPT}'
${script.trimEnd()}
${END_OF_SCRIPT}
set +e
${INSTALL}`;
}

const END_OF_SCRIPT = 'END_OF_AGENT_SCRIPT';

// systemctl is called by bare name, instead of a check of /run/systemd, so that a PATH can replace it. --no-block:
// cloud-init runs this inside the boot, and waiting there for a unit ordered after it would never end. The ECS agent of
// the default image would start containers of its own and hold Docker back until cloud-init is done. The unit is linked
// from the state folder; journal+console makes the agent's lines readable by GetConsoleOutput.
const INSTALL = `case $(systemctl is-system-running 2>/dev/null) in
  running | starting | initializing | degraded | maintenance) ;;
  *) exec sh "$dir/agent.sh" ;;
esac
cat >scheduler-agent.service <<END_OF_UNIT
[Unit]
Description=Scheduler agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0
[Service]
Environment=SCHEDULER_AGENT_DIR=$dir
ExecStart=/bin/sh $dir/agent.sh
Restart=always
RestartSec=2
OOMScoreAdjust=-1000
StandardOutput=journal+console
StandardError=journal+console
[Install]
WantedBy=multi-user.target
END_OF_UNIT
systemctl disable --now --no-block ecs 2>/dev/null
systemctl enable --now --no-block docker
systemctl enable --now --no-block "$dir/scheduler-agent.service" || exec sh "$dir/agent.sh"
`;
