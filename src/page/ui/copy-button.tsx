import { useSignal } from '@preact/signals';
import { announce } from './announcer.tsx';
import { IconButton } from './icon.tsx';

const SHOWN_MS = 1_500;

export function CopyButton({ text, label = 'Copy', word }: { text: () => string; label?: string; word?: string }) {
  const copied = useSignal(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text());
    announce('Copied.');
    copied.value = true;
    setTimeout(() => {
      copied.value = false;
    }, SHOWN_MS);
  };
  return (
    <IconButton
      icon={copied.value ? 'check' : 'copy'}
      label={label}
      {...(word === undefined ? {} : { word })}
      onClick={() => {
        copy().catch(() => announce('Your browser did not allow copying.'));
      }}
    />
  );
}
