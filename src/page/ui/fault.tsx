import type { ComponentChildren } from 'preact';
import { formatTimesInText } from './format.ts';

interface FaultMessageProps {
  /** Its first line is for everybody. What stands below it is shown to whoever wants the details. */
  text: string;
  isOpen?: boolean;
  children?: ComponentChildren;
}

/** Shows an error: in a sentence, with what helps, and what the edge itself has said of it. */
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
