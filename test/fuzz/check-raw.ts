import type { ApiDocument } from './document.ts';
import { checkProblem } from './check-answer.ts';
import { parseAnswers, type RawCase, type RawOutcome } from './raw.ts';

/** What is wrong with what came over a raw socket; undefined: nothing. */
export function checkRaw(
  document: ApiDocument,
  { answers: expected }: RawCase,
  outcome: RawOutcome,
): string | undefined {
  const { answers, rest } = parseAnswers(outcome.bytes);
  if (rest.length > 0) return `bytes that are no whole answer: ${JSON.stringify(rest.subarray(0, 200).toString())}`;
  if (expected !== undefined && answers.length !== expected) {
    return `${answers.length} answers instead of ${expected}: ${answers.map(({ status }) => status).join(', ')}`;
  }
  for (const answer of answers) {
    if (answer.status >= 500 && answer.status !== 503) return `status ${answer.status}`;
    const fault = answer.status >= 400 ? checkProblem(document, answer) : undefined;
    if (fault !== undefined) return fault;
  }
  return undefined;
}
