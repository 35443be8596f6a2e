/** Where in the event format a stream stopped. */
export interface StreamEnd {
  /** No event has begun since the last empty line. */
  atBoundary: boolean;
  /** The line that was not ended, as text; empty at a line's start. */
  unfinishedLine: string;
  /** The data lines of the event that was not ended, joined as the format says; undefined if it has none yet. */
  data: string | undefined;
}

/** What completes an event that lacks only its end, or undefined if its data is not complete. */
export function completion({ atBoundary, unfinishedLine, data }: StreamEnd): string | undefined {
  if (atBoundary) return undefined;
  // Only the carriage return of the empty line has arrived.
  if (unfinishedLine === '\r') return isJson(data) ? '\n' : undefined;
  if (unfinishedLine === '') return isJson(data) ? '\n' : undefined;
  const line = unfinishedLine.replace(/\r$/, '');
  if (!line.startsWith('data:')) return undefined;
  const value = line.slice(line[5] === ' ' ? 6 : 5);
  return isJson(data === undefined ? value : `${data}\n${value}`) ? '\n\n' : undefined;
}

/**
 * What must be written after a stream that was cut so that every client notices: complete data is completed first,
 * unfinished data becomes part of the error event, and nothing stands inside a line of somebody else's.
 *
 * @param errorEvent the lines of the `error` event, its empty line included
 */
export function cutEnding(end: StreamEnd, errorEvent: string): string {
  const completed = completion(end);
  if (completed !== undefined) return completed + errorEvent;
  return end.unfinishedLine === '' ? errorEvent : `\n${errorEvent}`;
}

function isJson(text: string | undefined): boolean {
  if (text === undefined) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
