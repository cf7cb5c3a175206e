/**
 * Ttsp N - two loops that poll, stopped N times; the JVM's side of sched.ttsp_p99
 *
 * The stops are thread dumps, which stop the world and do next to nothing in it. Times to safepoint
 * are read from the log that -Xlog:safepoint writes, not measured here.
 */
public final class Ttsp {
    static volatile long sink;

    static void hog() {
        long x = 1;
        for (long i = 0; i < Long.MAX_VALUE; i++) {
            x = x * 6364136223846793005L + 1442695040888963407L;
            if (x == 0) {
                sink++;
            }
        }
    }

    public static void main(String[] args) throws InterruptedException {
        int n = Integer.parseInt(args[0]);
        for (int i = 0; i < 2; i++) {
            Thread t = new Thread(Ttsp::hog);
            t.setDaemon(true);
            t.start();
        }
        Thread.sleep(300); // the loops are compiled by then
        for (int i = 0; i < n; i++) {
            Thread.sleep(2);
            Thread.getAllStackTraces();
        }
    }
}
