/** Calls of the AWS SDK in a TypeScript file, as `ec2:RunInstances`. */
export function sdkCallsIn(source: string): string[] {
  const [service, ...others] = new Set([...source.matchAll(/@aws-sdk\/client-([\w-]+)/g)].map(([, name = '']) => name));
  const calls = [...source.matchAll(/\bnew (\w+)Command\(|\b((?:paginate|waitUntil)\w+)\(/g)];
  if (calls.length === 0) return [];
  if (service === undefined || others.length > 0) throw new Error('it cannot be told whose commands these are');
  return calls.map(([, command, helper]) => `${service}:${command ?? helper}`);
}

/**
 * Calls of the AWS CLI in a shell script, as `aws ec2 describe-volumes`, pulls of images, and AWS's agent that calls by itself. Of `aws s3 cp` also where it
 * reads or writes: what is one command has differing permissions.
 */
export function cliCallsIn(script: string): string[] {
  const code = script.replaceAll(/^\s*#.*$/gm, '');
  return [
    ...code.matchAll(
      /\b(?:aws ([a-z][a-z0-9-]*) ([a-z][a-z0-9-]*)(?=(.*))|docker pull\b|enable --now amazon-ssm-agent\b)/g,
    ),
  ].map(([call, service, command, rest = '']) => {
    if (service === undefined) return call;
    return `aws ${service} ${command}${service === 's3' ? ` ${directionOf(rest)}` : ''}`;
  });
}

/** Of the words after `aws s3 cp`. */
function directionOf(rest: string): string {
  const [from = '', to = ''] = rest.split(/\s+/).filter((word) => word !== '' && !word.startsWith('--'));
  const uriOf = (word: string): string | undefined => /\$\{?(\w+_URI)\b/.exec(word)?.[1];
  if (uriOf(from)) return `from ${uriOf(from)}`;
  return uriOf(to) ? `to ${uriOf(to)}` : rest.trim();
}
