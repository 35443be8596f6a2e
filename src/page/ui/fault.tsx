import type { ComponentChildren } from 'preact';
import { formatTimesInText } from './format.ts';

interface FaultMessageProps {
  /** Its first line is shown to all users. The rest is shown as details. */
  text: string;
  isOpen?: boolean;
  children?: ComponentChildren;
}

/** Shows an error: a sentence with the remedy, and the edge's own message as details. */
export function FaultMessage({ text, isOpen = false, children }: FaultMessageProps) {
  const [sentence, ...details] = text.split('\n');
  return (
    <div class="fault" role="alert">
      <p>{sentence}</p>
      {children}
      {details.length > 0 && (
        <details class="quiet" open={isOpen}>
          <summary>Details</summary>
          <p class="typed">{formatTimesInText(details.join('\n'))}</p>
        </details>
      )}
    </div>
  );
}
