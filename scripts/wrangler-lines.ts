import { stripVTControlCharacters } from 'node:util';

/** What wrangler says of itself, and not of this edge. */
const OWN = [
  // Its own port, and the files of secrets.
  /Ready on http:\/\/127\.0\.0\.1/,
  /Using secrets defined in/,
  // Its list of bindings, which it prints twice, and how it comes to them.
  /^Your Worker has access to the following bindings:/,
  /^Binding +Resource +Mode/,
  /^env\.\w+ .* local$/,
  /Parsed \d+ valid header rules?/,
  /Connection status updated/,
];

/** @returns whether `npm start` passes on a line that wrangler has printed */
export function isShown(line: string): boolean {
  const plain = stripVTControlCharacters(line).trimEnd();
  return !OWN.some((own) => own.test(plain));
}
