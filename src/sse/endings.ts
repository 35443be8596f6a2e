/** Where in the event format a stream stopped. */
export interface StreamEnd {
  /** Whether no event has begun since the last empty line. */
  atBoundary: boolean;
  /** The line that was not ended, as text; empty at a line's start. */
  unfinishedLine: string;
  /** The data lines of the event that was not ended, joined as the format says; undefined if it has none yet. */
  data: string | undefined;
}

/** @returns the line ends that complete an event whose data is complete; undefined if the data is not, or no event has begun. */
export function completion({ atBoundary, unfinishedLine, data }: StreamEnd): string | undefined {
  if (atBoundary) return undefined;
  // The carriage return of the empty line may have arrived.
  if (unfinishedLine === '\r' || unfinishedLine === '') return isJson(data) ? '\n' : undefined;
  const line = unfinishedLine.replace(/\r$/, '');
  if (!line.startsWith('data:')) return undefined;
  const value = line.slice(line[5] === ' ' ? 6 : 5);
  return isJson(data === undefined ? value : `${data}\n${value}`) ? '\n\n' : undefined;
}

/**
 * Makes the end of an interrupted stream, so that every client notices the interruption. An event with complete data is
 * completed first. Data that is not complete becomes part of the error event, which begins on a line of its own.
 *
 * @param errorEvent the lines of the `error` event, its empty line included
 * @returns the text to write behind the stream
 */
export function cutEnding(end: StreamEnd, errorEvent: string): string {
  const completed = completion(end);
  if (completed !== undefined) return completed + errorEvent;
  return end.unfinishedLine === '' ? errorEvent : `\n${errorEvent}`;
}

function isJson(text: string | undefined): boolean {
  try {
    return text !== undefined && JSON.parse(text) !== undefined;
  } catch {
    return false;
  }
}
