import { useEverySecond } from '../../ui/every-second.ts';

/** Says that the connection broke, and when it is tried again. @param at in milliseconds since 1970 */
export function Reconnecting({ at }: { at: number }) {
  useEverySecond();
  const seconds = Math.ceil((at - Date.now()) / 1_000);
  return (
    <p class="reconnecting" role="status">
      Connection lost. {seconds > 0 ? `Reconnecting in ${seconds} s…` : 'Reconnecting…'}
    </p>
  );
}
