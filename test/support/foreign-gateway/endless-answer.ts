/** Gateways whose answers have no end: what they send is one line that goes on. */

const PIECE = new Uint8Array(1_048_576).fill(120);

/**
 * @param begun what comes first
 * @param maxMegabytes after how many MB it breaks off all the same
 * @returns the body of such an answer, and how many MB of it were taken
 */
export function createEndlessBody(
  begun: string,
  maxMegabytes = 100,
): { body: ReadableStream<Uint8Array>; takenMegabytes(): number } {
  let taken = -1;
  const body = new ReadableStream(
    {
      type: 'bytes',
      pull(controller) {
        taken += 1;
        if (taken === 0) controller.enqueue(new TextEncoder().encode(begun));
        else if (taken <= maxMegabytes) controller.enqueue(PIECE.slice());
        else controller.error(new Error('connection reset'));
      },
    },
    { highWaterMark: 0 },
  );
  return { body, takenMegabytes: () => taken };
}
