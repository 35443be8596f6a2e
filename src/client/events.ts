/** An event as its lines say it. */
export interface ServerSentEvent {
  id: string | undefined;
  event: string;
  data: string;
  /** The last comment among its lines. */
  remark: string | undefined;
}

/** @returns the number in an event's id, `<turn>-<n>`. */
export function numberOf(id: string | undefined): number | undefined {
  const [, digits] = /-(\d+)$/.exec(id ?? '') ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * Reads an event stream that is cut into pieces anywhere, in linear time; lines end as they do at this edge and at the
 * API, by LF or CRLF. A comment is told if an empty line follows it: any other may have been cut.
 *
 * @returns what takes the next piece
 */
export function readEvents(
  onEvent: (event: ServerSentEvent) => void,
  onComment: (comment: string) => void,
): (piece: Uint8Array) => void {
  const decoder = new TextDecoder();
  // Joined only when a line ends, so that a long one is not copied again for each of its pieces.
  let parts: string[] = [];
  let id: string | undefined;
  let event = '';
  let data: string[] = [];
  let comment: string | undefined;
  let remark: string | undefined;
  const takeLine = (line: string) => {
    if (line === '') {
      if (comment !== undefined) onComment(comment);
      if (data.length > 0) onEvent({ id, event, data: data.join('\n'), remark });
      comment = undefined;
      remark = undefined;
      id = undefined;
      event = '';
      data = [];
      return;
    }
    const [, field, value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    comment = field === '' ? value : undefined;
    remark = comment ?? remark;
    if (field === 'data') data.push(value);
    else if (field === 'event') event = value;
    else if (field === 'id') id = value;
  };
  return (piece) => {
    const text = decoder.decode(piece, { stream: true });
    parts.push(text);
    if (!text.includes('\n')) return;
    const lines = parts.join('').split('\n');
    parts = [lines.pop() ?? ''];
    for (const line of lines) takeLine(line.endsWith('\r') ? line.slice(0, -1) : line);
  };
}
