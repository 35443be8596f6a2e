import { useEffect, useReducer } from 'preact/hooks';

/** Renders a component again each second, for what counts up or down. */
export function useEverySecond(): void {
  const [, render] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const timer = setInterval(() => render(undefined), 1_000);
    return () => clearInterval(timer);
  }, []);
}
