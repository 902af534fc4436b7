/** For messages of AWS and about AWS: everybody who deploys reads them, and some are open to all. */
const LONGEST = 400;
/** An encoded authorization message has some 2,000 characters; longer text is cut before it is examined. */
const LONGEST_READ = 10_000;

/** What others than the operator may read of an AWS message: without names of the account, on one line, bounded. */
export function publicText(message: string, longest = LONGEST): string {
  const text = withoutAccount(message.slice(0, LONGEST_READ))
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim();
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
}

/**
 * Removes ARNs, ids of accounts and callers, and what only administrators can decode. The host of a registry stays: the
 * caller that deployed the image has named it. The text must be bounded.
 */
export function withoutAccount(text: string): string {
  return text
    .replace(/(?:\s|^)Encoded authorization failure message:.*$/is, '')
    .replace(/\barn:[^\s,;'"]*/g, 'arn:…')
    .replace(/\bA(?:ROA|IDA|KIA|SIA|GPA|IPA|NPA)[A-Z0-9]{12,}(?::[\w+=,.@-]+)?/g, '…')
    .replace(/\b\d{12}\b(?!\.dkr\.)/g, '…');
}
